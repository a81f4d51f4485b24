// SPDX-License-Identifier: Apache-2.0
package io.llmc.backend;

import static io.llmc.backend.ReferenceOps.get;
import static io.llmc.backend.ReferenceOps.set;

import io.llmc.backend.AttentionSpec.Heads;
import io.llmc.backend.AttentionSpec.Reach;
import io.llmc.backend.OpCases.Case;
import io.llmc.backend.SparseOp.Choice;
import io.llmc.backend.SparseOp.Keys;
import io.llmc.tensor.DType;
import io.llmc.tensor.Tensor;
import java.util.ArrayList;
import java.util.List;
import java.util.function.Function;
import java.util.stream.IntStream;

/// Choices of keys and attention to them, with their formulas in double precision.
final class SparseCases {
    private static final int LENGTH = 24;
    private static final int ROWS = 2 * LENGTH;

    /// So many heads that hardly a key has none that counts: zeros would be ties.
    private static final int HEADS = 16;

    private static final int DIM = 14;

    private SparseCases() {}

    static void all(List<Case> cases) {
        for (int most : new int[] {1, 7, 64}) {
            choose(cases, Choice.of(most), true);
            attend(cases, most, 1);
            attend(cases, most, 2);
            attend(cases, most, 4);
        }
        for (int most : new int[] {2, 3, 30}) {
            choose(cases, new Choice(most, 4, 0, false), true);
            choose(cases, new Choice(most, 4, 1, false), false);
            choose(cases, new Choice(most, 5, 2, false), false);
            choose(cases, new Choice(most, 4, 0, true), true);
            choose(cases, new Choice(most, 5, 0, true), false);
        }
        for (DType type : PageCases.TYPES) {
            paged(cases, type);
        }
        many(cases);
    }

    /// More keys, heads, channels and queries than a tile of a device has.
    private static void many(List<Case> cases) {
        for (boolean weighed : new boolean[] {false, true}) {
            cases.add(
                    new Case(
                            SparseOp.Choose.class,
                            "choose of many, weighed " + weighed,
                            OpCases.SUMS,
                            a ->
                                    new SparseOp.Choose(
                                            a.out(150 * (weighed ? 1 : 22), 20),
                                            a.normal(150, 22 * 70),
                                            new Keys.Whole(a.normal(150, 70), 150),
                                            weighed ? a.normal(150, 22) : null,
                                            null,
                                            Choice.of(20))));
        }
        for (Heads heads :
                List.of(
                        new Heads(12, 1, 6, 10),
                        new Heads(12, 1, 150, 140),
                        new Heads(8, 2, 6, 140),
                        new Heads(8, 2, 6, 10),
                        new Heads(1, 1, 6, 530))) {
            cases.add(
                    new Case(
                            SparseOp.ChosenAttention.class,
                            "chosenAttention of many, " + heads,
                            OpCases.SUMS,
                            a -> attention(a, heads, 66, 4 * 66, 40, 1)));
        }
    }

    private static void choose(List<Case> cases, Choice choice, boolean weighed) {
        cases.add(
                new Case(
                        SparseOp.Choose.class,
                        "choose %s, weighed %s".formatted(choice, weighed),
                        OpCases.SUMS,
                        a -> {
                            Tensor keys = a.normal(ROWS, choice.pooled() ? 2 * DIM : DIM);
                            return choose(a, new Keys.Whole(keys, LENGTH), ROWS, choice, weighed);
                        }));
    }

    private static Op choose(Operands a, Keys keys, int rows, Choice choice, boolean weighed) {
        return new SparseOp.Choose(
                a.out(rows * (weighed ? 1 : HEADS), choice.keys()),
                a.normal(rows, HEADS * DIM),
                keys,
                weighed ? a.normal(rows, HEADS) : null,
                choice.pooled() ? a.normal(choice.block(), DIM) : null,
                choice);
    }

    private static void attend(List<Case> cases, int most, int lists) {
        cases.add(
                new Case(
                        SparseOp.ChosenAttention.class,
                        "chosenAttention %d, lists %d".formatted(most, lists),
                        OpCases.SUMS,
                        a -> attention(a, new Heads(4, 2, 6, 10), LENGTH, ROWS, most, lists)));
    }

    private static Op attention(
            Operands a, Heads heads, int length, int rows, int most, int lists) {
        return new SparseOp.ChosenAttention(
                a.out(rows, heads.outWidth()),
                a.normal(rows, heads.queryWidth()),
                new Keys.Whole(a.normal(rows, heads.keyWidth()), length),
                new Keys.Whole(a.normal(rows, heads.valueWidth()), length),
                a.of(
                        DType.F32,
                        i -> chosen(i / most / lists % length, i % most, i / most % lists),
                        rows * lists,
                        most),
                heads,
                0.4f);
    }

    /// @param i of the list
    private static double chosen(long position, long i, long list) {
        long step = 1 + list;
        return i * step <= position ? i * step : -1;
    }

    /// Several sequences that go on, whose pages lie in any order.
    private static void paged(List<Case> cases, DType type) {
        List<Reach> reaches =
                List.of(PageCases.step(40), new Reach(5, 23, 0, 0), new Reach(9, 9, 0, 0));
        var index = new PageCases.Shape(new Heads(1, 1, 2 * DIM, 1), reaches, 16, 0, false);
        var kept = new PageCases.Shape(new Heads(4, 2, 6, 10), reaches, 16, 0, false);
        for (Choice choice : List.of(new Choice(3, 4, 1, false), new Choice(2, 4, 0, true))) {
            int width = choice.pooled() ? 2 * DIM : DIM;
            cases.add(
                    new Case(
                            SparseOp.Choose.class,
                            "choose %s in pages of %s".formatted(choice, type),
                            OpCases.SUMS,
                            a -> {
                                CacheOp.Pages pages = PageCases.pages(a, type, index, width, false);
                                return choose(
                                        a,
                                        new Keys.Paged(pages, PageCases.runs(a, index)),
                                        index.rows(),
                                        choice,
                                        choice.pooled());
                            }));
        }
        for (boolean turned : new boolean[] {false, true}) {
            cases.add(
                    new Case(
                            SparseOp.ChosenAttention.class,
                            "chosenAttention in pages of %s, turned %s".formatted(type, turned),
                            OpCases.SUMS,
                            a -> attention(a, type, kept, turned)));
        }
    }

    private static Op attention(Operands a, DType type, PageCases.Shape s, boolean turned) {
        List<CacheOp.Run> runs = PageCases.runs(a, s);
        Heads heads = s.heads();
        int most = 5;
        List<Integer> positions =
                s.reaches().stream()
                        .flatMap(r -> IntStream.range(0, r.length()).mapToObj(r::position))
                        .toList();
        return new SparseOp.ChosenAttention(
                a.out(s.rows(), heads.outWidth()),
                a.normal(s.rows(), heads.queryWidth()),
                new Keys.Paged(PageCases.pages(a, type, s, heads.dim(), turned), runs),
                new Keys.Paged(PageCases.pages(a, type, s, heads.valueDim(), false), runs),
                a.of(
                        DType.F32,
                        i -> {
                            int position = positions.get((int) (i / most));
                            return chosen(position, i % most, 1 + position % 2);
                        },
                        s.rows(),
                        most),
                heads,
                0.4f);
    }

    static void run(SparseOp op) {
        switch (op) {
            case SparseOp.Choose choose -> choose(choose);
            case SparseOp.ChosenAttention attention -> attend(attention);
        }
    }

    /// A query, and all rows of its sequence.
    private record Query(int row, int position, Tensor keys) {}

    private static List<Query> queries(Keys keys, int heads) {
        return switch (keys) {
            case Keys.Whole(Tensor x, int length) ->
                    queries(
                            IntStream.range(0, (int) x.rows() / length).boxed().toList(),
                            i -> i * length,
                            _ -> new Reach(length, length, 0, 0),
                            i -> x.rows((long) i * length, (i + 1L) * length));
            case Keys.Paged(CacheOp.Pages pages, List<CacheOp.Run> runs) ->
                    queries(
                            runs,
                            CacheOp.Run::row,
                            CacheOp.Run::reach,
                            r -> ReferencePages.rows(pages, r, heads));
        };
    }

    private static <R> List<Query> queries(
            List<R> runs,
            Function<R, Integer> row,
            Function<R, Reach> reach,
            Function<R, Tensor> rows) {
        List<Query> all = new ArrayList<>();
        for (R run : runs) {
            Tensor keys = rows.apply(run);
            for (int t = 0; t < reach.apply(run).length(); t++) {
                all.add(new Query(row.apply(run) + t, reach.apply(run).position(t), keys));
            }
        }
        return all;
    }

    private static void choose(SparseOp.Choose op) {
        Choice choice = op.choice();
        for (Query query : queries(op.keys(), 1)) {
            int seen = query.position() + 1;
            int blocks =
                    choice.pooled() ? seen / choice.block() : Math.ceilDiv(seen, choice.block());
            for (int list = 0; list < op.lists(); list++) {
                double[] scores = new double[blocks];
                for (int b = 0; b < blocks; b++) {
                    int end = Math.min(seen, (b + 1) * choice.block());
                    scores[b] =
                            blocks - b <= choice.local()
                                    ? Double.POSITIVE_INFINITY
                                    : score(op, query, list, b * choice.block(), end);
                }
                List<Integer> chosen = new ArrayList<>();
                IntStream.range(0, blocks)
                        .boxed()
                        .sorted((a, b) -> Double.compare(scores[b], scores[a]))
                        .limit(choice.most())
                        .sorted()
                        .flatMap(b ->
                                IntStream.range(b * choice.block(), (b + 1) * choice.block())
                                        .boxed())
                        .filter(s -> s < seen)
                        .forEach(chosen::add);
                for (int s = blocks * choice.block(); choice.pooled() && s < seen; s++) {
                    chosen.add(s);
                }
                for (int i = 0; i < choice.keys(); i++) {
                    long row = (long) query.row() * op.lists() + list;
                    set(op.out(), row, i, i < chosen.size() ? chosen.get(i) : -1);
                }
            }
        }
    }

    /// Of the keys `[from, to)`.
    private static double score(SparseOp.Choose op, Query query, int list, int from, int to) {
        if (op.choice().pooled()) {
            return score(op, query.row(), list, pooled(op, query.keys(), from, to));
        }
        double best = Double.NEGATIVE_INFINITY;
        for (int s = from; s < to; s++) {
            double[] key = new double[op.dim()];
            for (int c = 0; c < key.length; c++) {
                key[c] = get(query.keys(), s, c);
            }
            best = Math.max(best, score(op, query.row(), list, key));
        }
        return best;
    }

    private static double[] pooled(SparseOp.Choose op, Tensor keys, int from, int to) {
        double[] key = new double[op.dim()];
        for (int c = 0; c < key.length; c++) {
            double sum = 0;
            for (int s = from; s < to; s++) {
                double place = get(op.places(), s - from, c);
                double weight = Math.exp(get(keys, s, op.dim() + c) + place);
                sum += weight;
                key[c] += weight * get(keys, s, c);
            }
            key[c] /= sum;
        }
        return key;
    }

    private static double score(SparseOp.Choose op, int row, int list, double[] key) {
        double sum = 0;
        for (int h = 0; h < op.heads(); h++) {
            double dot = 0;
            for (int c = 0; c < key.length; c++) {
                dot += get(op.queries(), row, (long) h * key.length + c) * key[c];
            }
            if (op.weights() != null) {
                sum += get(op.weights(), row, h) * Math.max(0, dot);
            } else if (h == list) {
                sum = dot;
            }
        }
        return sum;
    }

    private static void attend(SparseOp.ChosenAttention op) {
        Heads heads = op.heads();
        List<Query> keys = queries(op.k(), heads.kv());
        List<Query> values = queries(op.v(), heads.kv());
        for (int i = 0; i < keys.size(); i++) {
            for (int h = 0; h < heads.count(); h++) {
                attend(op, keys.get(i), values.get(i).keys(), h);
            }
        }
    }

    private static void attend(SparseOp.ChosenAttention op, Query query, Tensor values, int h) {
        Heads heads = op.heads();
        long kv = h / heads.group();
        long list = (long) query.row() * op.lists() + h * op.lists() / heads.count();
        double sum = 0;
        double[] out = new double[heads.valueDim()];
        for (int i = 0; i < op.chosen().cols() && get(op.chosen(), list, i) >= 0; i++) {
            int s = (int) get(op.chosen(), list, i);
            double dot = 0;
            for (int c = 0; c < heads.dim(); c++) {
                dot +=
                        get(op.q(), query.row(), (long) h * heads.dim() + c)
                                * get(query.keys(), s, kv * heads.dim() + c);
            }
            double p = Math.exp(op.scale() * dot);
            sum += p;
            for (int c = 0; c < heads.valueDim(); c++) {
                out[c] += p * get(values, s, kv * heads.valueDim() + c);
            }
        }
        for (int c = 0; c < heads.valueDim(); c++) {
            set(op.out(), query.row(), (long) h * heads.valueDim() + c, out[c] / sum);
        }
    }
}
