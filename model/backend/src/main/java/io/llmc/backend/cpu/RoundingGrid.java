// SPDX-License-Identifier: Apache-2.0
package io.llmc.backend.cpu;

import io.llmc.backend.CompressionOp;
import io.llmc.backend.SmallFloatOp;
import io.llmc.tensor.Codes;
import io.llmc.tensor.DType;
import io.llmc.tensor.Tensor;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.IntVector;
import jdk.incubator.vector.VectorMask;
import jdk.incubator.vector.VectorOperators;

/// What GPTQ's column loop rounds to, one lane a row.
///
/// @param zeros null of small floats
/// @param floats null of integers
/// @param values type of a weight's values
record RoundingGrid(
        TileScales scales,
        MemorySegment zeros,
        long across,
        long height,
        int maxCode,
        SmallFloats floats,
        DType values) {
    static RoundingGrid of(CompressionOp.AccumulateObsBlock.Grid grid, int outs) {
        Tensor zeros = grid.zeros();
        boolean ints = grid.spec().codes() instanceof Codes.Ints;
        return new RoundingGrid(
                new TileScales(grid.scales(), grid.global()),
                zeros == null ? null : zeros.bytes(),
                grid.scales().cols(),
                grid.spec().tiles().height(outs),
                grid.spec().codes() instanceof Codes.Ints i ? i.maxCode() : 0,
                grid.spec().codes() instanceof Codes.Floats f ? SmallFloats.of(f) : null,
                ints ? grid.scales().dtype() : SmallFloatOp.valueType(grid.scales(), grid.spec()));
    }

    /// Scales and zero points of a group of `count` rows.
    void read(int first, int count, int group, float[] s, float[] z) {
        for (int i = 0; i < count; i++) {
            long at = (first + i) / height * across + group;
            s[i] = scales.get(at);
            z[i] = zeros == null ? 0 : zeros.get(ValueLayout.JAVA_BYTE, at) & 0xff;
        }
    }

    /// Values of `w`, whose codes go to `q[at]` and on; a pruned weight has the code of zero.
    FloatVector round(
            float[] q,
            int at,
            FloatVector w,
            FloatVector scale,
            FloatVector zero,
            VectorMask<Float> pruned) {
        if (floats == null) {
            FloatVector code = QuantKernels.code(w, scale, zero, maxCode).blend(zero, pruned);
            code.intoArray(q, at);
            return QuantKernels.value(code, scale, zero, values);
        }
        FloatVector nearest = floats.nearest(w.div(scale)).blend(0f, pruned);
        IntVector code = floats.codes(nearest);
        ((FloatVector) code.convert(VectorOperators.I2F, 0)).intoArray(q, at);
        return Lanes.round(nearest.mul(scale), values);
    }
}
