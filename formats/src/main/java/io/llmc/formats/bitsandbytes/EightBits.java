// SPDX-License-Identifier: Apache-2.0
package io.llmc.formats.bitsandbytes;

import io.llmc.formats.Dequantizer;
import io.llmc.formats.FormatException;
import io.llmc.formats.TensorInfo;
import io.llmc.formats.checkpoint.Checkpoint;
import io.llmc.formats.checkpoint.Groups;
import io.llmc.formats.checkpoint.TensorReader;
import io.llmc.tensor.DType;
import io.llmc.tensor.Floats;
import io.llmc.tensor.Tensor;
import io.llmc.tensor.Weight;
import java.lang.foreign.ValueLayout;

/// LLM.int8() (Dettmers et al., 2022, https://arxiv.org/abs/2208.07339): `weight` I8 `[out, in]`
/// and `SCB` F32 `[out]`, the largest magnitude of each row.
///
/// The library multiplies inputs of more than 6 apart, and rounds the others: what is computed
/// here, with inputs as they are, is closer to the original.
record EightBits(Tensor codes, Tensor largest) {
    private static final float STEP = 1f / 127;

    static boolean matches(Checkpoint c, String linear) {
        return c.has(linear + ".SCB");
    }

    /// @throws FormatException where the tensors do not fit together
    static EightBits of(TensorReader reader, String linear) {
        Checkpoint c = reader.checkpoint();
        TensorInfo weight = c.info(linear + ".weight");
        if (weight.dtype() != DType.I8 || weight.shape().rank() != 2) {
            throw new FormatException(c.file(weight.name()), weight + ", expected a matrix of I8");
        }
        String order = linear + ".weight_format";
        if (c.has(order)
                && (c.info(order).byteSize() != 1
                        || reader.tensor(order).bytes().get(ValueLayout.JAVA_BYTE, 0) != 0)) {
            throw new FormatException(
                    c.file(order),
                    "'%s' says that rows are not stored one after the other: save the model again with a newer bitsandbytes"
                            .formatted(order));
        }
        String name = linear + ".SCB";
        Tensor largest = reader.tensor(name, DType.F32, weight.shape().dim(0));
        Groups.requireFinite(c.file(name), name, largest);
        return new EightBits(reader.tensor(weight.name()), largest);
    }

    /// `code * largest[row] / 127`
    Weight values(TensorReader reader) {
        Tensor values = Dequantizer.allocate(reader.arena(), DType.F32, codes.shape().dims());
        long in = codes.cols();
        for (long o = 0; o < codes.rows(); o++) {
            float row = Floats.get(largest.bytes(), DType.F32, o);
            for (long i = o * in; i < (o + 1) * in; i++) {
                float code = codes.bytes().get(ValueLayout.JAVA_BYTE, i);
                Floats.set(values.bytes(), DType.F32, i, code * row * STEP);
            }
        }
        return new Weight.Dense(values);
    }
}
