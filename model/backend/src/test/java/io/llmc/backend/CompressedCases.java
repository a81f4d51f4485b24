// SPDX-License-Identifier: Apache-2.0
package io.llmc.backend;

import static io.llmc.backend.ReferenceOps.get;
import static io.llmc.backend.ReferenceOps.set;

import io.llmc.backend.CompressedOp.Sight;
import io.llmc.backend.OpCases.Case;
import io.llmc.backend.SparseOp.Keys;
import io.llmc.tensor.DType;
import io.llmc.tensor.Tensor;
import java.util.ArrayList;
import java.util.List;
import java.util.function.Function;
import java.util.stream.IntStream;

/// Keys of several tokens, with their formulas in double precision: sequences whose last tokens
/// belong to no entry yet, and others whose do.
final class CompressedCases {
    private CompressedCases() {}

    /// @param rate tokens of an entry
    record Sizes(int sequences, int rate, int length) {
        int tokens() {
            return sequences * length;
        }

        Keys keys(Operands a, int width) {
            return new Keys.Whole(a.normal(tokens(), width), length);
        }
    }

    static void all(List<Case> cases) {
        for (Sizes s : List.of(new Sizes(2, 4, 23), new Sizes(1, 6, 18), new Sizes(2, 1, 5))) {
            gradients(cases, s);
            for (int wide : new int[] {1, 2}) {
                cases.add(
                        new Case(
                                CompressedOp.Compress.class,
                                "compress %s, %d".formatted(s, wide),
                                OpCases.SUMS,
                                a ->
                                        new CompressedOp.Compress(
                                                a.out(s.tokens(), 21),
                                                s.keys(a, 2 * wide * 21),
                                                a.normal(s.rate(), wide * 21))));
            }
            // So many heads that hardly an entry has none that counts: zeros would be ties.
            cases.add(
                    new Case(
                            CompressedOp.ChooseEntries.class,
                            "chooseEntries " + s,
                            OpCases.SUMS,
                            a ->
                                    new CompressedOp.ChooseEntries(
                                            a.out(s.tokens(), 3),
                                            a.normal(s.tokens(), 16 * 14),
                                            s.keys(a, 14),
                                            a.normal(s.tokens(), 16),
                                            s.rate())));
            for (boolean chooses : new boolean[] {false, true}) {
                cases.add(
                        new Case(
                                CompressedOp.CompressedAttention.class,
                                "compressedAttention %s, %s".formatted(s, chooses),
                                OpCases.SUMS,
                                a ->
                                        new CompressedOp.CompressedAttention(
                                                a.out(s.tokens(), 4 * 10),
                                                a.normal(s.tokens(), 4 * 10),
                                                s.keys(a, 10),
                                                s.keys(a, 10),
                                                chooses ? everySecond(a, s) : null,
                                                a.normal(4),
                                                new Sight(4, 10, 5, s.rate(), 0.4f))));
            }
        }
    }

    static CompressedOp.Compress compress(Operands a, Source source, Sizes s) {
        Keys tokens = new Keys.Whole(source.of(a, s.tokens(), 2 * 2 * 5), s.length());
        Tensor places = source.of(a, s.rate(), 2 * 5);
        Function<Tensor, CompressedOp.Compress> forward =
                out -> new CompressedOp.Compress(out, tokens, places);
        return forward.apply(a.result(forward::apply, s.tokens(), 5));
    }

    static CompressedOp.CompressedAttention attention(Operands a, Source source, Sizes s) {
        Tensor q = source.of(a, s.tokens(), 2 * 5);
        Keys keys = new Keys.Whole(source.of(a, s.tokens(), 5), s.length());
        Keys entries = new Keys.Whole(source.of(a, s.tokens(), 5), s.length());
        Tensor sinks = source.of(a, 2);
        Tensor chosen = everySecond(a, s);
        Sight sight = new Sight(2, 5, 3, s.rate(), 0.4f);
        Function<Tensor, CompressedOp.CompressedAttention> forward =
                out ->
                        new CompressedOp.CompressedAttention(
                                out, q, keys, entries, chosen, sinks, sight);
        return forward.apply(a.result(forward::apply, s.tokens(), 2 * 5));
    }

    private static void gradients(List<Case> cases, Sizes s) {
        cases.add(
                new Case(
                        GradientOp.AccumulateCompressGrad.class,
                        "compressGrad " + s,
                        OpCases.SUMS,
                        a ->
                                new GradientOp.AccumulateCompressGrad(
                                        OpCases.sum(a, s.tokens(), 2 * 2 * 5),
                                        OpCases.sum(a, s.rate(), 2 * 5),
                                        a.normal(s.tokens(), 5),
                                        compress(a, Operands::normal, s))));
        cases.add(
                new Case(
                        GradientOp.AccumulateCompressedAttentionGrad.class,
                        "compressedAttentionGrad " + s,
                        OpCases.SUMS,
                        a ->
                                new GradientOp.AccumulateCompressedAttentionGrad(
                                        OpCases.sum(a, s.tokens(), 2 * 5),
                                        OpCases.sum(a, s.tokens(), 5),
                                        OpCases.sum(a, s.tokens(), 5),
                                        OpCases.sum(a, 2),
                                        a.normal(s.tokens(), 2 * 5),
                                        attention(a, Operands::normal, s))));
    }

    @FunctionalInterface
    interface Source {
        Tensor of(Operands a, long... dims);
    }

    private static Tensor everySecond(Operands a, Sizes s) {
        return a.of(
                DType.F32,
                i -> {
                    long seen = (i / 3 % s.length() + 1) / s.rate();
                    return 2 * (i % 3) < seen ? 2 * (i % 3) : -1;
                },
                s.tokens(),
                3);
    }

    static void run(CompressedOp op) {
        switch (op) {
            case CompressedOp.Compress compress -> compress(compress);
            case CompressedOp.ChooseEntries choose -> choose(choose);
            case CompressedOp.CompressedAttention attention -> attend(attention);
        }
    }

    private static Keys.Whole whole(Keys keys) {
        return (Keys.Whole) keys;
    }

    private static void compress(CompressedOp.Compress op) {
        Keys.Whole tokens = whole(op.tokens());
        int dim = (int) op.out().cols();
        int cols = (int) op.places().cols();
        int rate = op.rate();
        for (int row = 0; row < op.out().rows(); row++) {
            int end = row % tokens.length() + 1;
            for (int c = 0; c < dim; c++) {
                double sum = 0;
                double weights = 0;
                int count = cols > dim && end > rate ? 2 * rate : rate;
                for (int i = count - 1; i >= 0 && end % rate == 0; i--) {
                    int column = cols > dim && i < rate ? dim + c : c;
                    double place = get(op.places(), rate - 1 - i % rate, column);
                    double weight = Math.exp(get(tokens.x(), row - i, cols + column) + place);
                    weights += weight;
                    sum += weight * get(tokens.x(), row - i, column);
                }
                set(op.out(), row, c, weights == 0 ? 0 : sum / weights);
            }
        }
    }

    private static void choose(CompressedOp.ChooseEntries op) {
        Keys.Whole entries = whole(op.entries());
        for (int t = 0; t < op.out().rows(); t++) {
            int position = t % entries.length();
            double[] scores = new double[(position + 1) / op.rate()];
            for (int e = 0; e < scores.length; e++) {
                int row = t - position + (e + 1) * op.rate() - 1;
                for (int h = 0; h < op.heads(); h++) {
                    double dot = 0;
                    for (int c = 0; c < op.dim(); c++) {
                        dot += get(op.queries(), t, h * op.dim() + c) * get(entries.x(), row, c);
                    }
                    scores[e] += get(op.weights(), t, h) * Math.max(0, dot);
                }
            }
            int[] chosen =
                    IntStream.range(0, scores.length)
                            .boxed()
                            .sorted((a, b) -> Double.compare(scores[b], scores[a]))
                            .limit(op.out().cols())
                            .sorted()
                            .mapToInt(i -> i)
                            .toArray();
            for (int i = 0; i < op.out().cols(); i++) {
                set(op.out(), t, i, i < chosen.length ? chosen[i] : -1);
            }
        }
    }

    private static void attend(CompressedOp.CompressedAttention op) {
        int dim = op.sight().dim();
        for (int t = 0; t < op.out().rows(); t++) {
            List<double[]> keys = keys(op, t);
            for (int h = 0; h < op.sight().heads(); h++) {
                double sum = Math.exp(get(op.sinks(), h));
                double[] out = new double[dim];
                for (double[] key : keys) {
                    double dot = 0;
                    for (int c = 0; c < dim; c++) {
                        dot += get(op.q(), t, h * dim + c) * key[c];
                    }
                    double p = Math.exp(op.sight().scale() * dot);
                    sum += p;
                    for (int c = 0; c < dim; c++) {
                        out[c] += p * key[c];
                    }
                }
                for (int c = 0; c < dim; c++) {
                    set(op.out(), t, h * dim + c, out[c] / sum);
                }
            }
        }
    }

    private static List<double[]> keys(CompressedOp.CompressedAttention op, int t) {
        int windowed = Math.min(op.sight().window(), t % whole(op.keys()).length() + 1);
        List<Integer> places = places(op, t);
        return IntStream.range(0, places.size())
                .mapToObj(
                        i -> row(whole(i < windowed ? op.keys() : op.entries()).x(), places.get(i)))
                .toList();
    }

    static void run(GradientOp.AccumulateCompressGrad op) {
        Keys.Whole tokens = whole(op.forward().tokens());
        int dim = (int) op.dout().cols();
        int cols = (int) op.forward().places().cols();
        int rate = op.forward().rate();
        for (int row = 0; row < op.dout().rows(); row++) {
            int end = row % tokens.length() + 1;
            int count = cols > dim && end > rate ? 2 * rate : rate;
            for (int c = 0; c < dim && end % rate == 0; c++) {
                double[] weights = new double[count];
                double sum = 0;
                double mean = 0;
                for (int i = 0; i < count; i++) {
                    int column = cols > dim && i < rate ? dim + c : c;
                    double place = get(op.forward().places(), rate - 1 - i % rate, column);
                    weights[i] = Math.exp(get(tokens.x(), row - i, cols + column) + place);
                    sum += weights[i];
                    mean += weights[i] * get(tokens.x(), row - i, column);
                }
                for (int i = 0; i < count; i++) {
                    int column = cols > dim && i < rate ? dim + c : c;
                    double share = weights[i] / sum * get(op.dout(), row, c);
                    double gate = share * (get(tokens.x(), row - i, column) - mean / sum);
                    add(op.dtokens(), row - i, column, share);
                    add(op.dtokens(), row - i, cols + column, gate);
                    add(op.dplaces(), rate - 1 - i % rate, column, gate);
                }
            }
        }
    }

    private static void add(Tensor x, int row, int column, double more) {
        set(x, row, column, get(x, row, column) + more);
    }

    /// Every score's slope by itself.
    static void run(GradientOp.AccumulateCompressedAttentionGrad op) {
        CompressedOp.CompressedAttention forward = op.forward();
        int dim = forward.sight().dim();
        int length = whole(forward.keys()).length();
        for (int t = 0; t < op.dq().rows(); t++) {
            List<double[]> keys = keys(forward, t);
            List<Integer> places = places(forward, t);
            int windowed = Math.min(forward.sight().window(), t % length + 1);
            for (int h = 0; h < forward.sight().heads(); h++) {
                double[] scores = new double[keys.size() + 1];
                double[] values = new double[keys.size() + 1];
                scores[keys.size()] = get(forward.sinks(), h);
                for (int i = 0; i < keys.size(); i++) {
                    for (int c = 0; c < dim; c++) {
                        double key = keys.get(i)[c];
                        scores[i] +=
                                forward.sight().scale() * get(forward.q(), t, h * dim + c) * key;
                        values[i] += get(op.dout(), t, h * dim + c) * key;
                    }
                }
                double sum =
                        IntStream.range(0, scores.length)
                                .mapToDouble(i -> Math.exp(scores[i]))
                                .sum();
                double mean = 0;
                for (int i = 0; i < scores.length; i++) {
                    mean += Math.exp(scores[i]) / sum * values[i];
                }
                double sink = Math.exp(scores[keys.size()]) / sum;
                set(op.dsinks(), h, get(op.dsinks(), h) - sink * mean);
                for (int i = 0; i < keys.size(); i++) {
                    double p = Math.exp(scores[i]) / sum;
                    double slope = p * (values[i] - mean) * forward.sight().scale();
                    Tensor to = i < windowed ? op.dkeys() : op.dentries();
                    for (int c = 0; c < dim; c++) {
                        double q = get(forward.q(), t, h * dim + c);
                        add(op.dq(), t, h * dim + c, slope * keys.get(i)[c]);
                        add(to, places.get(i), c, slope * q + p * get(op.dout(), t, h * dim + c));
                    }
                }
            }
        }
    }

    /// The rows of [#keys].
    private static List<Integer> places(CompressedOp.CompressedAttention op, int t) {
        int position = t % whole(op.keys()).length();
        List<Integer> all = new ArrayList<>();
        for (int s = Math.max(0, position - op.sight().window() + 1); s <= position; s++) {
            all.add(t - position + s);
        }
        for (int e = 0; e < (position + 1) / op.sight().rate(); e++) {
            if (sees(op, t, e)) {
                all.add(t - position + (e + 1) * op.sight().rate() - 1);
            }
        }
        return all;
    }

    private static boolean sees(CompressedOp.CompressedAttention op, int t, int entry) {
        boolean seen = op.chosen() == null;
        for (int i = 0; !seen && i < op.chosen().cols(); i++) {
            seen = get(op.chosen(), t, i) == entry;
        }
        return seen;
    }

    private static double[] row(Tensor x, int row) {
        return IntStream.range(0, (int) x.cols()).mapToDouble(c -> get(x, row, c)).toArray();
    }
}
