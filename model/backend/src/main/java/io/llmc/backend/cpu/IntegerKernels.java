// SPDX-License-Identifier: Apache-2.0
package io.llmc.backend.cpu;

import static io.llmc.backend.cpu.Lanes.F;
import static io.llmc.backend.cpu.Lanes.F32;
import static io.llmc.backend.cpu.Lanes.I;
import static io.llmc.backend.cpu.Lanes.I32;
import static io.llmc.backend.cpu.Lanes.N;

import io.llmc.backend.ForwardOp;
import io.llmc.tensor.ActivationScheme;
import io.llmc.tensor.Codes;
import io.llmc.tensor.DType;
import io.llmc.tensor.Tensor;
import io.llmc.tensor.Weight;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.ByteOrder;
import java.util.function.Supplier;
import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.IntVector;
import jdk.incubator.vector.VectorOperators;

/// Products of 8-bit integers: codes of the inputs once, then tile by tile exact sums, which become
/// floats where they are. What does the sums changes no bit, nor does the shape of a tile.
final class IntegerKernels {
    private static final int ROWS = 256;
    private static final int COLUMNS = 512;

    /// Most tiles of one job.
    private static final int TOGETHER = 8;

    /// What makes a signed integer of a weight's code, which counts from -128.
    private static final int SIGN = 0x80;

    private final Workers workers;
    private final Supplier<Sums> sums;

    /// Matrix products of integers.
    @FunctionalInterface
    interface Sums {
        /// `c[m,n] = a[m,k] b[n,k]^T`, a and b of 8 bits and without gaps, c of 32 bits with rows
        /// that begin `stride` integers apart; nothing is cut off.
        void multiply(
                MemorySegment c,
                long stride,
                MemorySegment a,
                MemorySegment b,
                int m,
                int n,
                int k,
                Scratch scratch);
    }

    IntegerKernels(Workers workers, Supplier<Sums> sums) {
        this.workers = workers;
        this.sums = sums;
    }

    /// Bytes of all workers' scratch: the codes of all inputs, and the columns that each has.
    static long scratchBytes(long rows, long in, int threads) {
        return (rows + (long) COLUMNS * threads) * in;
    }

    void multiply(ForwardOp.IntegerMatmul op) {
        Scratch shared = workers.borrow();
        Inputs inputs = inputs(op, shared);
        int m = Math.toIntExact(op.out().rows());
        int n = Math.toIntExact(op.out().cols());
        int rowTiles = Math.ceilDiv(m, ROWS);
        int columnTiles = Math.ceilDiv(n, COLUMNS);
        // Tiles one above the other share the columns' integers.
        int together = Math.clamp(rowTiles * columnTiles / (4L * workers.threads()), 1, TOGETHER);
        int groups = Math.ceilDiv(rowTiles, together);
        Sums exact = sums.get();
        MemorySegment out = op.out().bytes();
        workers.forEach(
                columnTiles * groups,
                (job, scratch) -> {
                    int first = job % groups * together * ROWS;
                    int j0 = job / groups * COLUMNS;
                    int columns = Math.min(COLUMNS, n - j0);
                    Columns w = columns(op.w(), j0, columns, inputs.shifted, scratch);
                    for (int i0 = first; i0 < Math.min(m, first + together * ROWS); i0 += ROWS) {
                        int rows = Math.min(ROWS, m - i0);
                        MemorySegment c = out.asSlice(4 * ((long) i0 * n + j0));
                        MemorySegment a = inputs.codes.asSlice((long) i0 * inputs.k);
                        exact.multiply(c, n, a, w.codes, rows, columns, inputs.k, scratch);
                        for (int i = 0; i < rows; i++) {
                            int zero = inputs.shifted ? inputs.zeros[i0 + i] : 0;
                            scale(c, 4L * i * n, w, columns, zero, inputs.steps[i0 + i]);
                        }
                    }
                });
        workers.giveBack(shared);
    }

    /// Integers `[m, k]`, with a step and a zero point a row.
    ///
    /// @param shifted whether a zero point may not be 0
    private record Inputs(
            MemorySegment codes, int k, float[] steps, int[] zeros, boolean shifted) {}

    private Inputs inputs(ForwardOp.IntegerMatmul op, Scratch shared) {
        Tensor x = op.x();
        int m = Math.toIntExact(x.rows());
        int k = Math.toIntExact(x.cols());
        ActivationScheme scheme = op.rounding().scheme();
        Codes.Ints ints = (Codes.Ints) scheme.codes();
        var given = RoundingKernels.Given.of(op.rounding(), 0);
        MemorySegment codes = shared.bytes(3, (long) m * k);
        float[] steps = shared.floats(8, m);
        int[] zeros = shared.words(m);
        MemorySegment xs = x.bytes();
        workers.forEachRow(
                m,
                k,
                (r, scratch) -> {
                    float[] row = scratch.floats(0, Lanes.padded(k));
                    byte[] q = scratch.octets(Lanes.padded(k));
                    Lanes.read(row, 0, xs, DType.F32, r * k, k);
                    IntegerSteps s = IntegerSteps.of(row, 0, k, scheme, ints, given);
                    // NaN has no code, and must not be lost.
                    steps[(int) r] = s.encode(q, row, k) ? s.step() : Float.NaN;
                    zeros[(int) r] = (int) s.zero();
                    MemorySegment.copy(q, 0, codes, ValueLayout.JAVA_BYTE, r * k, k);
                });
        return new Inputs(codes, k, steps, zeros, !ints.symmetric());
    }

    /// Rows of a weight, which are columns of the product.
    ///
    /// @param codes signed, without gaps
    /// @param totals the sum of each one's integers; null where inputs have no zero points
    private record Columns(MemorySegment codes, float[] scales, int[] totals) {}

    private static Columns columns(
            Weight.Grouped w, int first, int count, boolean shifted, Scratch scratch) {
        int k = Math.toIntExact(w.inFeatures());
        long pitch = 4 * w.codes().cols();
        MemorySegment from = w.codes().bytes();
        MemorySegment codes = scratch.bytes(0, (long) count * k);
        float[] scales = scratch.floats(8, Lanes.padded(count));
        Lanes.read(scales, 0, w.scales().bytes(), w.scales().dtype(), first, count);
        int[] totals = shifted ? new int[Lanes.padded(count)] : null;
        byte[] row = scratch.octets(k);
        for (int j = 0; j < count; j++) {
            // Out of a file that may be mapped: see [Lanes#read].
            MemorySegment.copy(from, ValueLayout.JAVA_BYTE, (first + j) * pitch, row, 0, k);
            for (int i = 0; i < k; i++) {
                row[i] ^= (byte) SIGN;
            }
            MemorySegment.copy(row, 0, codes, ValueLayout.JAVA_BYTE, (long) j * k, k);
            if (shifted) {
                int total = 0;
                for (int i = 0; i < k; i++) {
                    total += row[i];
                }
                totals[j] = total;
            }
        }
        return new Columns(codes, scales, totals);
    }

    /// Sums of one row become floats, where they are: `(sum - zero * total) * scale * step`.
    private static void scale(
            MemorySegment c, long at, Columns w, int columns, int zero, float step) {
        int j = 0;
        for (; j <= columns - N; j += N) {
            long place = at + 4L * j;
            IntVector sum = IntVector.fromMemorySegment(I, c, place, ByteOrder.LITTLE_ENDIAN);
            if (zero != 0) {
                sum = sum.sub(IntVector.fromArray(I, w.totals, j).mul(zero));
            }
            ((FloatVector) sum.convert(VectorOperators.I2F, 0))
                    .mul(FloatVector.fromArray(F, w.scales, j))
                    .mul(step)
                    .intoMemorySegment(c, place, ByteOrder.LITTLE_ENDIAN);
        }
        for (; j < columns; j++) {
            long place = at + 4L * j;
            int sum = c.get(I32, place) - (zero == 0 ? 0 : zero * w.totals[j]);
            c.set(F32, place, sum * w.scales[j] * step);
        }
    }
}
