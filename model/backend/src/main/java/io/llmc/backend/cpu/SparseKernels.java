// SPDX-License-Identifier: Apache-2.0
package io.llmc.backend.cpu;

import io.llmc.backend.AttentionSpec;
import io.llmc.backend.SparseOp;
import io.llmc.tensor.DType;
import io.llmc.tensor.Tensor;
import java.util.Arrays;

/// Choices of keys, and attention to them, row by row.
final class SparseKernels {
    private final Workers workers;

    SparseKernels(Workers workers) {
        this.workers = workers;
    }

    void choose(SparseOp.Choose op) {
        int dim = Math.toIntExact(op.keys().cols());
        int most = Math.toIntExact(op.out().cols());
        workers.forEach(
                Math.toIntExact(op.out().rows()),
                (row, scratch) -> {
                    int position = row % op.length();
                    int keys = position + 1;
                    float[] q = row(op.queries(), row, scratch.floats(0, op.heads() * dim));
                    float[] weights = row(op.weights(), row, scratch.floats(1, op.heads()));
                    float[] k = scratch.floats(2, dim);
                    double[] scores = scratch.doubles(0, op.length());
                    for (int s = 0; s < keys; s++) {
                        row(op.keys(), row - position + s, k);
                        scores[s] = 0;
                        for (int h = 0; h < op.heads(); h++) {
                            scores[s] += weights[h] * Math.max(0, dot(q, h * dim, k, 0, dim));
                        }
                    }
                    float[] chosen = scratch.floats(3, most);
                    best(scores, keys, op.length(), chosen, most);
                    Lanes.write(op.out().bytes(), DType.F32, (long) row * most, chosen, 0, most);
                });
    }

    /// The numbers of the largest scores, ascending.
    ///
    /// @param keys those that are seen
    /// @param all with those behind, which count least
    private static void best(double[] scores, int keys, int all, float[] chosen, int most) {
        Arrays.fill(chosen, 0, most, -1);
        int[] numbers = new int[all];
        Arrays.setAll(numbers, i -> i);
        int count = Math.min(most, keys);
        if (keys > most) {
            double[] copy = Arrays.copyOf(scores, all);
            Arrays.fill(copy, keys, all, Double.NEGATIVE_INFINITY);
            new Selection(copy, numbers).largest(most, all);
            Arrays.sort(numbers, 0, most);
        }
        for (int i = 0; i < count; i++) {
            chosen[i] = numbers[i];
        }
    }

    void attend(SparseOp.ChosenAttention op) {
        AttentionSpec.Heads heads = op.spec().heads();
        int most = Math.toIntExact(op.chosen().cols());
        int length = op.spec().reach().length();
        workers.forEach(
                Math.toIntExact(op.out().rows()),
                (row, scratch) -> {
                    int first = row - row % length;
                    float[] chosen = row(op.chosen(), row, scratch.floats(0, most));
                    float[] q = row(op.q(), row, scratch.floats(1, heads.queryWidth()));
                    float[] out = scratch.floats(2, heads.outWidth());
                    Arrays.fill(out, 0, heads.outWidth(), 0);
                    double[] scores = scratch.doubles(0, heads.count() * most);
                    float[] k = scratch.floats(3, heads.keyWidth());
                    double[] largest = scratch.doubles(1, heads.count());
                    Arrays.fill(largest, 0, heads.count(), Double.NEGATIVE_INFINITY);
                    int keys = 0;
                    for (; keys < most && chosen[keys] >= 0; keys++) {
                        row(op.k(), first + (int) chosen[keys], k);
                        for (int h = 0; h < heads.count(); h++) {
                            int from = h / heads.group() * heads.dim();
                            double score =
                                    op.spec().scale()
                                            * dot(q, h * heads.dim(), k, from, heads.dim());
                            scores[h * most + keys] = score;
                            largest[h] = Math.max(largest[h], score);
                        }
                    }
                    for (int h = 0; h < heads.count(); h++) {
                        soften(scores, h * most, keys, largest[h]);
                    }
                    float[] v = scratch.floats(4, heads.valueWidth());
                    for (int i = 0; i < keys; i++) {
                        row(op.v(), first + (int) chosen[i], v);
                        for (int h = 0; h < heads.count(); h++) {
                            float p = (float) scores[h * most + i];
                            int from = h / heads.group() * heads.valueDim();
                            int to = h * heads.valueDim();
                            for (int c = 0; c < heads.valueDim(); c++) {
                                out[to + c] += p * v[from + c];
                            }
                        }
                    }
                    Lanes.write(
                            op.out().bytes(),
                            DType.F32,
                            (long) row * heads.outWidth(),
                            out,
                            0,
                            heads.outWidth());
                });
    }

    private static void soften(double[] scores, int at, int count, double largest) {
        double sum = 0;
        for (int i = at; i < at + count; i++) {
            scores[i] = StrictMath.exp(scores[i] - largest);
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

    private static double dot(float[] a, int i, float[] b, int j, int n) {
        double sum = 0;
        for (int c = 0; c < n; c++) {
            sum += (double) a[i + c] * b[j + c];
        }
        return sum;
    }
}
