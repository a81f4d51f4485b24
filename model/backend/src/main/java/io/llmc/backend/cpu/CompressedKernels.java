// SPDX-License-Identifier: Apache-2.0
package io.llmc.backend.cpu;

import io.llmc.backend.AttentionSpec;
import io.llmc.backend.CompressedOp;
import io.llmc.backend.CompressedOp.Entries;
import io.llmc.tensor.DType;
import io.llmc.tensor.Tensor;
import java.util.Arrays;

/// Keys of several tokens each, choices of them, and attention to them, in F64.
final class CompressedKernels {
    private final Workers workers;

    CompressedKernels(Workers workers) {
        this.workers = workers;
    }

    void compress(CompressedOp.Compress op) {
        Entries out = op.out();
        int dim = Math.toIntExact(out.x().cols());
        int cols = Math.toIntExact(op.x().cols());
        int rate = out.rate();
        boolean overlaps = cols > dim;
        float[] places = new float[Lanes.padded(rate * cols)];
        Lanes.read(places, 0, op.places().bytes(), op.places().dtype(), 0, rate * cols);
        workers.forEach(
                Math.toIntExact(out.x().rows()),
                (e, scratch) -> {
                    int number = e % out.count();
                    long first = (long) e / out.count() * out.length() + (long) number * rate;
                    Means means = new Means(scratch, dim);
                    for (int pass = 0; pass < 2; pass++) {
                        means.begin(pass);
                        for (int i = 0; i < rate && overlaps && number > 0; i++) {
                            means.add(op, first - rate + i, i, places, 0);
                        }
                        for (int i = 0; i < rate; i++) {
                            means.add(op, first + i, i, places, overlaps ? dim : 0);
                        }
                    }
                    means.write(out.x(), e);
                });
    }

    /// Means of channels over tokens: a first pass finds the largest of the logits of weights, a
    /// second adds up.
    private static final class Means {
        private final int dim;
        private final float[] x;
        private final float[] gates;
        private final double[] most;
        private final double[] sums;
        private final double[] weights;
        private boolean adding;

        Means(Scratch scratch, int dim) {
            this.dim = dim;
            x = scratch.floats(0, Lanes.padded(dim));
            gates = scratch.floats(1, Lanes.padded(dim));
            most = scratch.doubles(0, dim);
            sums = scratch.doubles(1, dim);
            weights = scratch.doubles(2, dim);
        }

        void begin(int pass) {
            adding = pass > 0;
            if (adding) {
                Arrays.fill(sums, 0, dim, 0);
                Arrays.fill(weights, 0, dim, 0);
            } else {
                Arrays.fill(most, 0, dim, Double.NEGATIVE_INFINITY);
            }
        }

        /// @param place of the token among those of its entry
        /// @param from first of its columns that count
        void add(CompressedOp.Compress op, long token, int place, float[] places, int from) {
            int cols = Math.toIntExact(op.x().cols());
            Lanes.read(gates, 0, op.gates().bytes(), DType.F32, token * cols + from, dim);
            if (adding) {
                Lanes.read(x, 0, op.x().bytes(), DType.F32, token * cols + from, dim);
            }
            for (int c = 0; c < dim; c++) {
                double logit = (double) gates[c] + places[place * cols + from + c];
                if (adding) {
                    double weight = StrictMath.exp(logit - most[c]);
                    weights[c] += weight;
                    sums[c] += weight * x[c];
                } else {
                    most[c] = Math.max(most[c], logit);
                }
            }
        }

        void write(Tensor out, int row) {
            for (int c = 0; c < dim; c++) {
                x[c] = (float) (sums[c] / weights[c]);
            }
            Lanes.write(out.bytes(), DType.F32, (long) row * dim, x, 0, dim);
        }
    }

    void choose(CompressedOp.ChooseEntries op) {
        Entries entries = op.entries();
        int dim = Math.toIntExact(entries.x().cols());
        int heads = Math.toIntExact(op.weights().cols());
        int most = Math.toIntExact(op.out().cols());
        workers.forEach(
                Math.toIntExact(op.out().rows()),
                (t, scratch) -> {
                    int seen = entries.seen(t % entries.length());
                    int first = t / entries.length() * entries.count();
                    float[] q = row(op.queries(), t, scratch.floats(0, heads * dim));
                    float[] weights = row(op.weights(), t, scratch.floats(1, heads));
                    float[] key = scratch.floats(2, dim);
                    double[] scores = scratch.doubles(0, entries.count());
                    for (int e = 0; e < seen; e++) {
                        row(entries.x(), first + e, key);
                        scores[e] = 0;
                        for (int h = 0; h < heads; h++) {
                            scores[e] += weights[h] * Math.max(0, dot(q, h * dim, key, dim));
                        }
                    }
                    float[] chosen = scratch.floats(3, most);
                    best(scores, seen, chosen, most);
                    Lanes.write(op.out().bytes(), DType.F32, (long) t * most, chosen, 0, most);
                });
    }

    /// The numbers of the largest scores, ascending.
    private static void best(double[] scores, int seen, float[] chosen, int most) {
        Arrays.fill(chosen, 0, most, -1);
        int[] numbers = new int[seen];
        Arrays.setAll(numbers, i -> i);
        if (seen > most) {
            new Selection(Arrays.copyOf(scores, seen), numbers).largest(most, seen);
            Arrays.sort(numbers, 0, most);
        }
        for (int i = 0; i < Math.min(most, seen); i++) {
            chosen[i] = numbers[i];
        }
    }

    void attend(CompressedOp.CompressedAttention op) {
        AttentionSpec.Heads heads = op.spec().heads();
        int dim = heads.dim();
        int width = heads.outWidth();
        float[] sinks = new float[Lanes.padded(heads.count())];
        Lanes.read(sinks, 0, op.sinks().bytes(), DType.F32, 0, heads.count());
        workers.forEach(
                Math.toIntExact(op.out().rows()),
                (t, scratch) -> {
                    Keys keys = Keys.of(op, t, scratch);
                    int count = keys.count();
                    float[] q = row(op.q(), t, scratch.floats(0, width));
                    float[] key = scratch.floats(1, dim);
                    double[] scores = scratch.doubles(0, heads.count() * count);
                    for (int i = 0; i < count; i++) {
                        keys.read(op, i, key);
                        for (int h = 0; h < heads.count(); h++) {
                            scores[h * count + i] = op.spec().scale() * dot(q, h * dim, key, dim);
                        }
                    }
                    for (int h = 0; h < heads.count(); h++) {
                        soften(scores, h * count, count, sinks[h]);
                    }
                    double[] sums = scratch.doubles(1, width);
                    Arrays.fill(sums, 0, width, 0);
                    for (int i = 0; i < count; i++) {
                        keys.read(op, i, key);
                        for (int h = 0; h < heads.count(); h++) {
                            double p = scores[h * count + i];
                            for (int c = 0; c < dim; c++) {
                                sums[h * dim + c] += p * key[c];
                            }
                        }
                    }
                    for (int c = 0; c < width; c++) {
                        q[c] = (float) sums[c];
                    }
                    Lanes.write(op.out().bytes(), DType.F32, (long) t * width, q, 0, width);
                });
    }

    /// What a token sees.
    ///
    /// @param windowed how many of them are keys of tokens, the first ones
    /// @param rows of these, then of entries
    private record Keys(int count, int windowed, int[] rows) {
        static Keys of(CompressedOp.CompressedAttention op, int t, Scratch scratch) {
            Entries entries = op.entries();
            int position = t % entries.length();
            int first = op.spec().reach().first(position);
            int windowed = position - first + 1;
            int seen = entries.seen(position);
            int most = op.chosen() == null ? seen : Math.toIntExact(op.chosen().cols());
            int[] rows = scratch.words(windowed + most);
            for (int i = 0; i < windowed; i++) {
                rows[i] = t - position + first + i;
            }
            float[] chosen =
                    op.chosen() == null ? null : row(op.chosen(), t, scratch.floats(2, most));
            int count = windowed;
            for (int i = 0; i < most; i++) {
                int entry = chosen == null ? i : (int) chosen[i];
                if (entry >= 0) {
                    rows[count++] = t / entries.length() * entries.count() + entry;
                }
            }
            return new Keys(count, windowed, rows);
        }

        void read(CompressedOp.CompressedAttention op, int index, float[] key) {
            row(index < windowed ? op.keys() : op.entries().x(), rows[index], key);
        }
    }

    /// @param sink a score that has no value
    private static void soften(double[] scores, int at, int count, double sink) {
        double most = sink;
        for (int i = at; i < at + count; i++) {
            most = Math.max(most, scores[i]);
        }
        double sum = StrictMath.exp(sink - most);
        for (int i = at; i < at + count; i++) {
            scores[i] = StrictMath.exp(scores[i] - most);
            sum += scores[i];
        }
        for (int i = at; i < at + count; i++) {
            scores[i] /= sum;
        }
    }

    private static float[] row(Tensor x, long row, float[] to) {
        int n = Math.toIntExact(x.cols());
        Lanes.read(to, 0, x.bytes(), DType.F32, row * n, n);
        return to;
    }

    private static double dot(float[] a, int from, float[] b, int n) {
        double sum = 0;
        for (int c = 0; c < n; c++) {
            sum += (double) a[from + c] * b[c];
        }
        return sum;
    }
}
