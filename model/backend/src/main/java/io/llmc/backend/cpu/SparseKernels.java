// SPDX-License-Identifier: Apache-2.0
package io.llmc.backend.cpu;

import io.llmc.backend.AttentionSpec;
import io.llmc.backend.CacheOp;
import io.llmc.backend.SparseOp;
import io.llmc.backend.SparseOp.Choice;
import io.llmc.backend.SparseOp.Keys;
import io.llmc.tensor.DType;
import io.llmc.tensor.Tensor;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;

/// Choices of keys, and attention to them, query by query.
final class SparseKernels {
    private final Workers workers;

    SparseKernels(Workers workers) {
        this.workers = workers;
    }

    /// Where the keys or values of a sequence lie.
    @FunctionalInterface
    interface Source {
        void read(int token, int head, float[] to);
    }

    /// @param row of the operation
    /// @param position in its sequence
    /// @param length of the sequence, behind the position too
    record Query(int row, int position, int length, Source keys) {}

    static List<Query> queries(Keys keys, int heads, int width) {
        List<Query> all = new ArrayList<>();
        switch (keys) {
            case Keys.Whole(Tensor x, int length) -> {
                for (int first = 0; first < x.rows(); first += length) {
                    Source source = rows(x, first, heads, width);
                    for (int t = 0; t < length; t++) {
                        all.add(new Query(first + t, t, length, source));
                    }
                }
            }
            case Keys.Paged(CacheOp.Pages pages, List<CacheOp.Run> runs) -> {
                var view = new PageKernels.View(pages);
                for (CacheOp.Run run : runs) {
                    Source source = paged(view, run, heads);
                    AttentionSpec.Reach reach = run.reach();
                    for (int t = 0; t < reach.length(); t++) {
                        int position = reach.position(t);
                        all.add(new Query(run.row() + t, position, reach.keys(), source));
                    }
                }
            }
        }
        return all;
    }

    private static Source rows(Tensor x, int first, int heads, int width) {
        return (token, head, to) -> {
            long from = ((first + (long) token) * heads + head) * width;
            Lanes.read(to, 0, x.bytes(), DType.F32, from, width);
        };
    }

    private static Source paged(PageKernels.View view, CacheOp.Run run, int heads) {
        return (token, head, to) -> {
            long page = PageKernels.page(run, token, view.tokens);
            view.token(to, page * heads + head, token % view.tokens);
        };
    }

    void choose(SparseOp.Choose op) {
        Choice choice = op.choice();
        int dim = op.dim();
        List<Query> queries = queries(op.keys(), 1, choice.pooled() ? 2 * dim : dim);
        if (choice.pooled()) {
            queries = pooled(op, queries);
        }
        List<Query> all = queries;
        int most = choice.keys();
        workers.forEach(
                all.size() * op.lists(),
                (tile, scratch) -> {
                    Query query = all.get(tile / op.lists());
                    int list = tile % op.lists();
                    int seen = score(op, query, list, scratch);
                    int blocks = Math.ceilDiv(query.length(), choice.block());
                    float[] chosen = scratch.floats(3, most);
                    write(
                            choice,
                            query.position() + 1,
                            best(scratch.doubles(0, blocks), seen, blocks, choice.most()),
                            chosen);
                    long at = ((long) query.row() * op.lists() + list) * most;
                    Lanes.write(op.out().bytes(), DType.F32, at, chosen, 0, most);
                });
    }

    /// With the keys of whole blocks in the place of single ones.
    private List<Query> pooled(SparseOp.Choose op, List<Query> queries) {
        List<Query> all = new ArrayList<>();
        for (int i = 0, end; i < queries.size(); i = end) {
            Source source = queries.get(i).keys();
            for (end = i; end < queries.size() && queries.get(end).keys().equals(source); ) {
                end++;
            }
            int blocks = (queries.get(end - 1).position() + 1) / op.choice().block();
            float[] keys = new float[blocks * op.dim()];
            workers.forEach(blocks, (block, scratch) -> pool(op, source, block, keys, scratch));
            Source made =
                    (block, _, to) -> System.arraycopy(keys, block * op.dim(), to, 0, op.dim());
            queries.subList(i, end)
                    .forEach(q -> all.add(new Query(q.row(), q.position(), q.length(), made)));
        }
        return all;
    }

    private static void pool(
            SparseOp.Choose op, Source source, int block, float[] to, Scratch scratch) {
        int dim = op.dim();
        int size = op.choice().block();
        float[] key = scratch.floats(0, 2 * dim);
        float[] place = scratch.floats(1, dim);
        double[] logits = scratch.doubles(0, size * dim);
        double[] keys = scratch.doubles(1, size * dim);
        double[] largest = scratch.doubles(2, dim);
        Arrays.fill(largest, 0, dim, Double.NEGATIVE_INFINITY);
        for (int i = 0; i < size; i++) {
            source.read(block * size + i, 0, key);
            Lanes.read(place, 0, op.places().bytes(), op.places().dtype(), (long) i * dim, dim);
            for (int c = 0; c < dim; c++) {
                keys[i * dim + c] = key[c];
                logits[i * dim + c] = (double) key[dim + c] + place[c];
                largest[c] = Math.max(largest[c], logits[i * dim + c]);
            }
        }
        for (int c = 0; c < dim; c++) {
            double sum = 0;
            double mean = 0;
            for (int i = 0; i < size; i++) {
                double weight = StrictMath.exp(logits[i * dim + c] - largest[c]);
                sum += weight;
                mean += weight * keys[i * dim + c];
            }
            to[block * dim + c] = (float) (mean / sum);
        }
    }

    /// Scores of the blocks that a query sees, in the worker's memory.
    ///
    /// @return how many they are
    private static int score(SparseOp.Choose op, Query query, int list, Scratch scratch) {
        Choice choice = op.choice();
        int dim = op.dim();
        // A pooled key is a block, which must be whole.
        int size = choice.pooled() ? 1 : choice.block();
        int keys = (query.position() + 1) / (choice.pooled() ? choice.block() : 1);
        int blocks = Math.ceilDiv(keys, size);
        float[] q = row(op.queries(), query.row(), scratch.floats(0, op.heads() * dim));
        float[] weights =
                op.weights() == null
                        ? null
                        : row(op.weights(), query.row(), scratch.floats(1, op.heads()));
        float[] k = scratch.floats(2, dim);
        int all = Math.ceilDiv(query.length(), choice.block());
        double[] scores = scratch.doubles(0, all);
        Arrays.fill(scores, 0, all, Double.NEGATIVE_INFINITY);
        for (int s = 0; s < keys; s++) {
            query.keys().read(s, 0, k);
            double score = weights == null ? dot(q, list * dim, k, 0, dim) : 0;
            for (int h = 0; weights != null && h < op.heads(); h++) {
                score += weights[h] * Math.max(0, dot(q, h * dim, k, 0, dim));
            }
            scores[s / size] = Math.max(scores[s / size], score);
        }
        for (int i = 1; i <= Math.min(choice.local(), blocks); i++) {
            scores[blocks - i] = Double.POSITIVE_INFINITY;
        }
        return blocks;
    }

    /// The numbers of the `most` largest scores, ascending.
    ///
    /// @param seen scores that count
    /// @param all with those behind, which are the least: where scores are equal, the choice
    ///   depends on them, too
    private static int[] best(double[] scores, int seen, int all, int most) {
        int[] numbers = new int[all];
        Arrays.setAll(numbers, i -> i);
        if (seen > most) {
            new Selection(scores, numbers).largest(most, all);
        }
        int[] best = Arrays.copyOf(numbers, Math.min(seen, most));
        Arrays.sort(best);
        return best;
    }

    /// @param keys that the query sees
    /// @param chosen `[choice.keys()]`
    private static void write(Choice choice, int keys, int[] blocks, float[] chosen) {
        int at = 0;
        for (int block : blocks) {
            int end = Math.min(keys, (block + 1) * choice.block());
            for (int s = block * choice.block(); s < end; s++) {
                chosen[at++] = s;
            }
        }
        for (int s = keys - keys % choice.block(); choice.pooled() && s < keys; s++) {
            chosen[at++] = s;
        }
        Arrays.fill(chosen, at, choice.keys(), -1);
    }

    /// A tile is a head of a query.
    void attend(SparseOp.ChosenAttention op) {
        AttentionSpec.Heads heads = op.heads();
        List<Query> keys = queries(op.k(), heads.kv(), heads.dim());
        List<Query> values = queries(op.v(), heads.kv(), heads.valueDim());
        workers.forEach(
                keys.size() * heads.count(),
                (tile, scratch) -> {
                    int query = tile / heads.count();
                    int head = tile % heads.count();
                    attend(op, keys.get(query), values.get(query).keys(), head, scratch);
                });
    }

    private static void attend(
            SparseOp.ChosenAttention op, Query query, Source values, int head, Scratch scratch) {
        AttentionSpec.Heads heads = op.heads();
        int most = Math.toIntExact(op.chosen().cols());
        int dim = heads.dim();
        int valueDim = heads.valueDim();
        long list = (long) query.row() * op.lists() + head * op.lists() / heads.count();
        float[] chosen = row(op.chosen(), list, scratch.floats(0, most));
        float[] q = scratch.floats(1, dim);
        long at = (long) query.row() * heads.count() + head;
        Lanes.read(q, 0, op.q().bytes(), DType.F32, at * dim, dim);
        int kv = head / heads.group();
        double[] scores = scratch.doubles(0, most);
        float[] k = scratch.floats(2, dim);
        int keys = 0;
        for (; keys < most && chosen[keys] >= 0; keys++) {
            query.keys().read((int) chosen[keys], kv, k);
            scores[keys] = op.scale() * dot(q, 0, k, 0, dim);
        }
        soften(scores, keys);
        float[] out = scratch.floats(3, valueDim);
        Arrays.fill(out, 0, valueDim, 0);
        float[] v = scratch.floats(4, valueDim);
        for (int i = 0; i < keys; i++) {
            values.read((int) chosen[i], kv, v);
            float p = (float) scores[i];
            for (int c = 0; c < valueDim; c++) {
                out[c] += p * v[c];
            }
        }
        Lanes.write(op.out().bytes(), DType.F32, at * valueDim, out, 0, valueDim);
    }

    private static void soften(double[] scores, int count) {
        double largest = Double.NEGATIVE_INFINITY;
        for (int i = 0; i < count; i++) {
            largest = Math.max(largest, scores[i]);
        }
        double sum = 0;
        for (int i = 0; i < count; i++) {
            scores[i] = StrictMath.exp(scores[i] - largest);
            sum += scores[i];
        }
        for (int i = 0; i < count; i++) {
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
