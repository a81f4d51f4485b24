// SPDX-License-Identifier: Apache-2.0
package io.llmc.backend.cpu;

import static io.llmc.backend.cpu.Lanes.F;
import static io.llmc.backend.cpu.Lanes.F32;
import static io.llmc.backend.cpu.Lanes.N;

import io.llmc.backend.OptimizerOp;
import io.llmc.backend.OptimizerOp.Moment;
import io.llmc.tensor.DType;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.Arrays;
import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.VectorOperators;

/// Adam whose moments are 8-bit codes, block by block: decode, update, encode, in one pass.
final class AdamW8Kernel {
    private static final int BLOCK = Moment.BLOCK;

    /// Blocks of a tile.
    private static final int TILE = 64;

    private static final float[] SIGNED = DynamicMap.SIGNED.values();
    private static final float[] UNSIGNED = DynamicMap.UNSIGNED.values();

    private final Workers workers;

    AdamW8Kernel(Workers workers) {
        this.workers = workers;
    }

    void run(OptimizerOp.AccumulateAdamW8 op) {
        AdamUpdate update = new AdamUpdate(op.spec());
        long blocks = Moment.scales(op.w().shape().size());
        workers.forEach(
                Math.toIntExact(Math.ceilDiv(blocks, (long) TILE)),
                (tile, scratch) -> {
                    long end = Math.min(blocks, (tile + 1L) * TILE);
                    for (long b = (long) tile * TILE; b < end; b++) {
                        block(op, update, b, scratch);
                    }
                });
    }

    private static void block(
            OptimizerOp.AccumulateAdamW8 op, AdamUpdate update, long b, Scratch scratch) {
        long from = b * BLOCK;
        int n = (int) Math.min(BLOCK, op.w().shape().size() - from);
        int padded = Lanes.padded(n);
        float[] w = scratch.floats(0, BLOCK);
        float[] m = scratch.floats(1, BLOCK);
        float[] v = scratch.floats(2, BLOCK);
        float[] g = scratch.floats(3, BLOCK);
        byte[] codes = scratch.octets(BLOCK);
        Lanes.read(w, 0, op.w().bytes(), DType.F32, from, n);
        Lanes.read(g, 0, op.g().bytes(), DType.F32, from, n);
        decode(m, op.m(), SIGNED, b, n, codes);
        decode(v, op.v(), UNSIGNED, b, n, codes);
        // Zeros behind the end do not count in a block's scale.
        Arrays.fill(m, n, padded, 0);
        Arrays.fill(v, n, padded, 0);
        Arrays.fill(g, n, padded, 0);
        update.run(w, m, v, g, padded);
        Lanes.write(op.w().bytes(), DType.F32, from, w, 0, n);
        boolean any = normalise(m, op.m().scales().bytes(), b, padded);
        for (int i = 0; i < n; i++) {
            codes[i] = (byte) (any ? signed(m[i]) : DynamicMap.ZERO);
        }
        write(codes, op.m(), from, n);
        any = normalise(v, op.v().scales().bytes(), b, padded);
        for (int i = 0; i < n; i++) {
            codes[i] = (byte) (any ? unsigned(v[i]) : 0);
        }
        write(codes, op.v(), from, n);
    }

    private static void decode(
            float[] x, Moment moment, float[] values, long b, int n, byte[] codes) {
        float scale = moment.scales().bytes().get(F32, 4 * b);
        MemorySegment bytes = moment.codes().bytes();
        MemorySegment.copy(bytes, ValueLayout.JAVA_BYTE, b * BLOCK, codes, 0, n);
        for (int i = 0; i < n; i++) {
            x[i] = values[codes[i] & 0xff] * scale;
        }
    }

    /// Divides by the largest magnitude, and keeps it.
    ///
    /// @return whether there is one above 0
    private static boolean normalise(float[] x, MemorySegment scales, long b, int n) {
        FloatVector most = FloatVector.zero(F);
        for (int i = 0; i < n; i += N) {
            most = most.max(FloatVector.fromArray(F, x, i).abs());
        }
        float scale = most.reduceLanes(VectorOperators.MAX);
        scales.set(F32, 4 * b, scale);
        for (int i = 0; i < n; i += N) {
            FloatVector.fromArray(F, x, i).div(scale).intoArray(x, i);
        }
        return scale > 0;
    }

    private static int signed(float x) {
        int rank = DynamicMap.SIGNED.rank(Math.abs(x));
        return x < 0 ? Math.max(0, DynamicMap.ZERO - rank) : DynamicMap.ZERO + rank;
    }

    private static int unsigned(float x) {
        return Math.max(x > 0 ? 1 : 0, DynamicMap.UNSIGNED.rank(x));
    }

    private static void write(byte[] codes, Moment moment, long from, int n) {
        MemorySegment bytes = moment.codes().bytes();
        MemorySegment.copy(codes, 0, bytes, ValueLayout.JAVA_BYTE, from, n);
    }
}
