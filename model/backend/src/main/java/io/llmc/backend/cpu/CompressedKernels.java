// SPDX-License-Identifier: Apache-2.0
package io.llmc.backend.cpu;

import io.llmc.backend.CompressedOp;
import io.llmc.backend.CompressedOp.Sight;
import io.llmc.backend.cpu.SparseKernels.Query;
import io.llmc.tensor.DType;
import io.llmc.tensor.Tensor;
import java.util.Arrays;
import java.util.List;

/// Keys of several tokens each, choices of them, and attention to them, in F64.
final class CompressedKernels {
    private final Workers workers;

    CompressedKernels(Workers workers) {
        this.workers = workers;
    }

    void compress(CompressedOp.Compress op) {
        int dim = Math.toIntExact(op.out().cols());
        int cols = Math.toIntExact(op.places().cols());
        int rate = op.rate();
        boolean overlaps = cols > dim;
        float[] places = new float[Lanes.padded(rate * cols)];
        Lanes.read(places, 0, op.places().bytes(), op.places().dtype(), 0, rate * cols);
        List<Query> rows = SparseKernels.queries(op.tokens(), 1, 2 * cols);
        workers.forEach(
                rows.size(),
                (r, scratch) -> {
                    Query row = rows.get(r);
                    int end = row.position() + 1;
                    Means means = new Means(scratch, places, cols, dim);
                    for (int pass = 0; pass < 2 && end % rate == 0; pass++) {
                        means.begin(pass);
                        for (int i = 0; i < rate && overlaps && end > rate; i++) {
                            means.add(row, end - 2 * rate + i, i, 0);
                        }
                        for (int i = 0; i < rate; i++) {
                            means.add(row, end - rate + i, i, overlaps ? dim : 0);
                        }
                    }
                    means.write(op.out(), row.row());
                });
    }

    /// Means of channels over tokens: a first pass finds the largest of the logits of weights, a
    /// second adds up.
    private static final class Means {
        private final float[] places;
        private final int cols;
        private final int dim;
        private final float[] token;
        private final double[] most;
        private final double[] sums;
        private final double[] weights;
        private boolean adding;

        Means(Scratch scratch, float[] places, int cols, int dim) {
            this.places = places;
            this.cols = cols;
            this.dim = dim;
            token = scratch.floats(0, Lanes.padded(2 * cols));
            most = scratch.doubles(0, dim);
            sums = scratch.doubles(1, dim);
            weights = scratch.doubles(2, dim);
            Arrays.fill(sums, 0, dim, 0);
            Arrays.fill(weights, 0, dim, 1);
        }

        void begin(int pass) {
            adding = pass > 0;
            Arrays.fill(adding ? weights : most, 0, dim, adding ? 0 : Double.NEGATIVE_INFINITY);
        }

        /// @param place of the token among those of its entry
        /// @param from first of its columns that count
        void add(Query row, int position, int place, int from) {
            row.keys().read(position, 0, token);
            for (int c = 0; c < dim; c++) {
                double logit = (double) token[cols + from + c] + places[place * cols + from + c];
                if (adding) {
                    double weight = StrictMath.exp(logit - most[c]);
                    weights[c] += weight;
                    sums[c] += weight * token[from + c];
                } else {
                    most[c] = Math.max(most[c], logit);
                }
            }
        }

        void write(Tensor out, int row) {
            for (int c = 0; c < dim; c++) {
                token[c] = (float) (sums[c] / weights[c]);
            }
            Lanes.write(out.bytes(), DType.F32, (long) row * dim, token, 0, dim);
        }
    }

    /// The token where an entry lies.
    static int place(int entry, int rate) {
        return (entry + 1) * rate - 1;
    }

    void choose(CompressedOp.ChooseEntries op) {
        int dim = op.dim();
        int heads = op.heads();
        int most = Math.toIntExact(op.out().cols());
        List<Query> rows = SparseKernels.queries(op.entries(), 1, dim);
        workers.forEach(
                rows.size(),
                (r, scratch) -> {
                    Query query = rows.get(r);
                    int seen = (query.position() + 1) / op.rate();
                    float[] q = row(op.queries(), query.row(), scratch.floats(0, heads * dim));
                    float[] weights = row(op.weights(), query.row(), scratch.floats(1, heads));
                    float[] key = scratch.floats(2, Lanes.padded(dim));
                    double[] scores = scratch.doubles(0, seen);
                    for (int e = 0; e < seen; e++) {
                        query.keys().read(place(e, op.rate()), 0, key);
                        scores[e] = 0;
                        for (int h = 0; h < heads; h++) {
                            scores[e] += weights[h] * Math.max(0, dot(q, h * dim, key, dim));
                        }
                    }
                    float[] chosen = scratch.floats(3, most);
                    best(scores, seen, chosen, most);
                    long to = (long) query.row() * most;
                    Lanes.write(op.out().bytes(), DType.F32, to, chosen, 0, most);
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
        Sight sight = op.sight();
        float[] sinks = new float[Lanes.padded(sight.heads())];
        Lanes.read(sinks, 0, op.sinks().bytes(), DType.F32, 0, sight.heads());
        List<Query> keys = SparseKernels.queries(op.keys(), 1, sight.dim());
        List<Query> entries = SparseKernels.queries(op.entries(), 1, sight.dim());
        workers.forEach(
                keys.size(),
                (r, scratch) -> {
                    Seen seen = Seen.of(op, keys.get(r), entries.get(r), scratch);
                    int row = keys.get(r).row();
                    int width = sight.heads() * sight.dim();
                    float[] q = row(op.q(), row, scratch.floats(0, width));
                    double[] scores = scratch.doubles(0, sight.heads() * seen.count());
                    scores(sight, seen, q, scores, scratch);
                    for (int h = 0; h < sight.heads(); h++) {
                        soften(scores, h * seen.count(), seen.count(), sinks[h]);
                    }
                    double[] sums = scratch.doubles(1, width);
                    sums(sight, seen, scores, sums, scratch);
                    for (int c = 0; c < width; c++) {
                        q[c] = (float) sums[c];
                    }
                    Lanes.write(op.out().bytes(), DType.F32, (long) row * width, q, 0, width);
                });
    }

    static void scores(Sight sight, Seen seen, float[] q, double[] scores, Scratch scratch) {
        int dim = sight.dim();
        float[] key = scratch.floats(1, Lanes.padded(dim));
        for (int i = 0; i < seen.count(); i++) {
            seen.read(i, key);
            for (int h = 0; h < sight.heads(); h++) {
                scores[h * seen.count() + i] = sight.scale() * dot(q, h * dim, key, dim);
            }
        }
    }

    private static void sums(Sight sight, Seen seen, double[] p, double[] sums, Scratch scratch) {
        int dim = sight.dim();
        float[] key = scratch.floats(1, Lanes.padded(dim));
        Arrays.fill(sums, 0, sight.heads() * dim, 0);
        for (int i = 0; i < seen.count(); i++) {
            seen.read(i, key);
            for (int h = 0; h < sight.heads(); h++) {
                double share = p[h * seen.count() + i];
                for (int c = 0; c < dim; c++) {
                    sums[h * dim + c] += share * key[c];
                }
            }
        }
    }

    /// What a token sees.
    ///
    /// @param windowed how many of them are keys of tokens, the first ones
    /// @param places in the sequence of these, then of entries
    record Seen(int count, int windowed, int[] places, Query keys, Query entries) {
        static Seen of(
                CompressedOp.CompressedAttention op, Query keys, Query entries, Scratch scratch) {
            int position = keys.position();
            int windowed = Math.min(op.sight().window(), position + 1);
            int all = (position + 1) / op.sight().rate();
            int most = op.chosen() == null ? all : Math.toIntExact(op.chosen().cols());
            int[] places = scratch.words(windowed + most);
            for (int i = 0; i < windowed; i++) {
                places[i] = position - windowed + 1 + i;
            }
            float[] chosen =
                    op.chosen() == null
                            ? null
                            : row(op.chosen(), keys.row(), scratch.floats(2, most));
            int count = windowed;
            for (int i = 0; i < most; i++) {
                int entry = chosen == null ? i : (int) chosen[i];
                if (entry >= 0) {
                    places[count++] = place(entry, op.sight().rate());
                }
            }
            return new Seen(count, windowed, places, keys, entries);
        }

        void read(int index, float[] key) {
            (index < windowed ? keys : entries).keys().read(places[index], 0, key);
        }
    }

    /// @param sink a score that has no value
    static void soften(double[] scores, int at, int count, double sink) {
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

    static float[] row(Tensor x, long row, float[] to) {
        int n = Math.toIntExact(x.cols());
        Lanes.read(to, 0, x.bytes(), DType.F32, row * n, n);
        return to;
    }

    static double dot(float[] a, int from, float[] b, int n) {
        double sum = 0;
        for (int c = 0; c < n; c++) {
            sum += (double) a[from + c] * b[c];
        }
        return sum;
    }
}
