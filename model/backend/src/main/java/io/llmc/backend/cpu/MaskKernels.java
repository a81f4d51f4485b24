// SPDX-License-Identifier: Apache-2.0
package io.llmc.backend.cpu;

import io.llmc.backend.CompressionOp.MaskRule;
import io.llmc.tensor.DType;
import io.llmc.tensor.Tensor;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.Arrays;

/// Chooses and zeroes the least important weights.
///
/// The k-th smallest score is found by radix: scores are not negative, so that their bits order as
/// they do. Three digits of 11, 11 and 10 bits.
final class MaskKernels {
    private static final int[] SHIFTS = {21, 10, 0};
    private static final int BUCKETS = 1 << 11;

    private final Workers workers;

    MaskKernels(Workers workers) {
        this.workers = workers;
    }

    void choose(Tensor mask, Tensor w, Tensor importance, MaskRule rule, int from, int to) {
        float[] c = new float[to - from];
        Arrays.fill(c, 1);
        if (importance != null) {
            Lanes.read(c, 0, importance.bytes(), DType.F32, from, to - from);
        }
        Scores scores = new Scores(w, c, from);
        switch (rule) {
            case MaskRule.EachRow(int zeros) -> eachRow(mask, scores, zeros);
            case MaskRule.NOfM(int n, int m) -> nOfM(mask, scores, n, m);
            case MaskRule.Together(long zeros) -> together(mask, scores, zeros);
            case MaskRule.Zeros() -> zeros(mask, scores);
        }
    }

    /// `|w| * c` of the columns from `from` on.
    private record Scores(Tensor w, float[] c, int from) {
        int rows() {
            return Math.toIntExact(w.rows());
        }

        long at(int row) {
            return row * w.cols() + from;
        }

        /// The bits of a row's scores.
        void read(int row, int[] bits, Scratch scratch) {
            float[] x = scratch.floats(0, c.length);
            Lanes.read(x, 0, w.bytes(), w.dtype(), at(row), c.length);
            for (int i = 0; i < c.length; i++) {
                bits[i] = Float.floatToRawIntBits(Math.abs(x[i]) * c[i]);
            }
        }
    }

    private void eachRow(Tensor mask, Scores scores, int zeros) {
        MemorySegment bytes = mask.bytes();
        int n = scores.c.length;
        workers.forEach(
                scores.rows(),
                (row, scratch) -> {
                    int[] bits = scratch.words(n + BUCKETS);
                    scores.read(row, bits, scratch);
                    Threshold t = threshold(bits, n, zeros);
                    mark(bytes, scores.at(row), bits, n, t.bits, t.ties);
                });
    }

    /// Everything below `bits`, and the first `ties` of those that equal it.
    private record Threshold(int bits, long ties) {}

    private static Threshold threshold(int[] bits, int n, int zeros) {
        int prefix = 0;
        int known = 0;
        long left = zeros;
        for (int shift : SHIFTS) {
            Arrays.fill(bits, n, n + BUCKETS, 0);
            int mask = shift == 0 ? 1023 : 2047;
            for (int i = 0; i < n; i++) {
                if ((bits[i] & known) == prefix) {
                    bits[n + (bits[i] >>> shift & mask)]++;
                }
            }
            int digit = 0;
            while (digit < mask && left > bits[n + digit]) {
                left -= bits[n + digit++];
            }
            prefix |= digit << shift;
            known |= mask << shift;
        }
        return new Threshold(prefix, left);
    }

    /// @return ties that were taken
    private static long mark(
            MemorySegment mask, long at, int[] bits, int n, int threshold, long ties) {
        long taken = 0;
        for (int i = 0; i < n; i++) {
            boolean pruned = bits[i] < threshold || (bits[i] == threshold && taken < ties);
            taken += pruned && bits[i] == threshold ? 1 : 0;
            mask.set(ValueLayout.JAVA_BYTE, at + i, (byte) (pruned ? 1 : 0));
        }
        return taken;
    }

    private void zeros(Tensor mask, Scores scores) {
        MemorySegment bytes = mask.bytes();
        int n = scores.c.length;
        workers.forEach(
                scores.rows(),
                (row, scratch) -> {
                    int[] bits = scratch.words(n);
                    scores.read(row, bits, scratch);
                    mark(bytes, scores.at(row), bits, n, 0, n);
                });
    }

    private void nOfM(Tensor mask, Scores scores, int n, int m) {
        MemorySegment bytes = mask.bytes();
        int cols = scores.c.length;
        workers.forEach(
                scores.rows(),
                (row, scratch) -> {
                    int[] bits = scratch.words(cols);
                    scores.read(row, bits, scratch);
                    byte[] pruned = scratch.octets(cols);
                    Arrays.fill(pruned, 0, cols, (byte) 0);
                    for (int g = 0; g < cols; g += m) {
                        for (int zeros = m - n; zeros > 0; zeros--) {
                            int least = -1;
                            for (int i = g; i < g + m; i++) {
                                if (pruned[i] == 0 && (least < 0 || bits[i] < bits[least])) {
                                    least = i;
                                }
                            }
                            pruned[least] = 1;
                        }
                    }
                    MemorySegment.copy(
                            pruned, 0, bytes, ValueLayout.JAVA_BYTE, scores.at(row), cols);
                });
    }

    /// Counts digits row by row and adds the counts up: sums of whole numbers, in any order.
    private void together(Tensor mask, Scores scores, long zeros) {
        int n = scores.c.length;
        int rows = scores.rows();
        int prefix = 0;
        int known = 0;
        long left = zeros;
        for (int shift : SHIFTS) {
            int digits = shift == 0 ? 1023 : 2047;
            long[] counts = count(scores, prefix, known, shift, digits);
            int digit = 0;
            while (digit < digits && left > counts[digit]) {
                left -= counts[digit++];
            }
            prefix |= digit << shift;
            known |= digits << shift;
        }
        int threshold = prefix;
        int[] equal = new int[rows];
        workers.forEach(
                rows,
                (row, scratch) -> {
                    int[] bits = scratch.words(n);
                    scores.read(row, bits, scratch);
                    for (int i = 0; i < n; i++) {
                        equal[row] += bits[i] == threshold ? 1 : 0;
                    }
                });
        long[] ties = new long[rows];
        for (int row = 0; row < rows; row++) {
            ties[row] = Math.min(left, equal[row]);
            left -= ties[row];
        }
        MemorySegment bytes = mask.bytes();
        workers.forEach(
                rows,
                (row, scratch) -> {
                    int[] bits = scratch.words(n);
                    scores.read(row, bits, scratch);
                    mark(bytes, scores.at(row), bits, n, threshold, ties[row]);
                });
    }

    private long[] count(Scores scores, int prefix, int known, int shift, int digits) {
        int n = scores.c.length;
        int rows = scores.rows();
        int perTile = Math.max(1, 32768 / n);
        int tiles = Math.ceilDiv(rows, perTile);
        long[] total = new long[BUCKETS];
        workers.forEach(
                tiles,
                (tile, scratch) -> {
                    int[] bits = scratch.words(n + BUCKETS);
                    Arrays.fill(bits, n, n + BUCKETS, 0);
                    int last = Math.min(rows, (tile + 1) * perTile);
                    for (int row = tile * perTile; row < last; row++) {
                        scores.read(row, bits, scratch);
                        for (int i = 0; i < n; i++) {
                            if ((bits[i] & known) == prefix) {
                                bits[n + (bits[i] >>> shift & digits)]++;
                            }
                        }
                    }
                    synchronized (total) {
                        for (int d = 0; d <= digits; d++) {
                            total[d] += bits[n + d];
                        }
                    }
                });
        return total;
    }

    void countAbove(Tensor out, Tensor w, Tensor importance, float threshold) {
        int n = Math.toIntExact(w.cols());
        float[] c = new float[n];
        Lanes.read(c, 0, importance.bytes(), DType.F32, 0, n);
        Scores scores = new Scores(w, c, 0);
        int limit = Float.floatToRawIntBits(threshold);
        MemorySegment outs = out.bytes();
        workers.forEach(
                scores.rows(),
                (row, scratch) -> {
                    int[] bits = scratch.words(n);
                    scores.read(row, bits, scratch);
                    int above = 0;
                    for (int i = 0; i < n; i++) {
                        above += bits[i] > limit ? 1 : 0;
                    }
                    outs.set(Lanes.F64, 8L * row, above);
                });
    }

    void apply(Tensor out, Tensor w, Tensor mask) {
        int cols = Math.toIntExact(w.cols());
        int size = w.dtype().bytes();
        MemorySegment outs = out.bytes();
        MemorySegment ws = w.bytes();
        MemorySegment masks = mask.bytes();
        workers.forEach(
                Math.toIntExact(w.rows()),
                row -> {
                    long at = (long) row * cols;
                    MemorySegment.copy(ws, at * size, outs, at * size, (long) cols * size);
                    for (long i = at; i < at + cols; i++) {
                        if (masks.get(ValueLayout.JAVA_BYTE, i) != 0) {
                            if (size == 4) {
                                outs.set(ValueLayout.JAVA_INT_UNALIGNED, 4 * i, 0);
                            } else {
                                outs.set(ValueLayout.JAVA_SHORT_UNALIGNED, 2 * i, (short) 0);
                            }
                        }
                    }
                });
    }
}
