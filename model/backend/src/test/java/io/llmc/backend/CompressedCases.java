// SPDX-License-Identifier: Apache-2.0
package io.llmc.backend;

import static io.llmc.backend.ReferenceOps.get;
import static io.llmc.backend.ReferenceOps.set;

import io.llmc.backend.CompressedOp.Entries;
import io.llmc.backend.OpCases.Case;
import io.llmc.tensor.DType;
import io.llmc.tensor.Tensor;
import java.util.ArrayList;
import java.util.List;
import java.util.stream.IntStream;

/// Keys of several tokens, with their formulas in double precision: sequences whose last tokens
/// belong to no entry yet, and others whose do.
final class CompressedCases {
    private CompressedCases() {}

    /// @param rate tokens of an entry
    private record Sizes(int sequences, int rate, int length) {
        int tokens() {
            return sequences * length;
        }

        Entries entries(Tensor x) {
            return new Entries(x, rate, length);
        }

        int all() {
            return sequences * (length / rate);
        }
    }

    static void all(List<Case> cases) {
        for (Sizes s : List.of(new Sizes(2, 4, 23), new Sizes(1, 6, 18), new Sizes(2, 1, 5))) {
            for (int wide : new int[] {1, 2}) {
                cases.add(
                        new Case(
                                CompressedOp.Compress.class,
                                "compress %s, %d".formatted(s, wide),
                                OpCases.SUMS,
                                a ->
                                        new CompressedOp.Compress(
                                                s.entries(a.out(s.all(), 21)),
                                                a.normal(s.tokens(), wide * 21),
                                                a.normal(s.tokens(), wide * 21),
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
                                            s.entries(a.normal(s.all(), 14)),
                                            a.normal(s.tokens(), 16))));
            for (boolean chooses : new boolean[] {false, true}) {
                cases.add(
                        new Case(
                                CompressedOp.CompressedAttention.class,
                                "compressedAttention %s, %s".formatted(s, chooses),
                                OpCases.SUMS,
                                a -> attention(a, s, chooses)));
            }
        }
    }

    private static Op attention(Operands a, Sizes s, boolean chooses) {
        Entries entries = s.entries(a.normal(s.all(), 10));
        Tensor chosen = a.of(DType.F32, i -> every(entries, i / 3, i % 3), s.tokens(), 3);
        return new CompressedOp.CompressedAttention(
                a.out(s.tokens(), 4 * 10),
                a.normal(s.tokens(), 4 * 10),
                a.normal(s.tokens(), 10),
                entries,
                chooses ? chosen : null,
                a.normal(4),
                new AttentionSpec(
                        new AttentionSpec.Heads(4, 1, 10, 10),
                        new AttentionSpec.Reach(s.length(), s.length(), 5, 0),
                        0.4f,
                        0));
    }

    /// Every second entry.
    private static double every(Entries entries, long token, long i) {
        return 2 * i < entries.seen((int) token % entries.length()) ? 2 * i : -1;
    }

    static void run(CompressedOp op) {
        switch (op) {
            case CompressedOp.Compress compress -> compress(compress);
            case CompressedOp.ChooseEntries choose -> choose(choose);
            case CompressedOp.CompressedAttention attention -> attend(attention);
        }
    }

    private static void compress(CompressedOp.Compress op) {
        int dim = (int) op.out().x().cols();
        int rate = op.out().rate();
        boolean overlaps = op.x().cols() > dim;
        for (int row = 0; row < op.out().x().rows(); row++) {
            int entry = row % op.out().count();
            int first = row / op.out().count() * op.out().length() + entry * rate;
            for (int c = 0; c < dim; c++) {
                double sum = 0;
                double weights = 0;
                for (int i = overlaps && entry > 0 ? -rate : 0; i < rate; i++) {
                    int column = overlaps && i >= 0 ? dim + c : c;
                    double gate = get(op.gates(), first + i, column);
                    double weight = Math.exp(gate + get(op.places(), (i + rate) % rate, column));
                    weights += weight;
                    sum += weight * get(op.x(), first + i, column);
                }
                set(op.out().x(), row, c, sum / weights);
            }
        }
    }

    private static void choose(CompressedOp.ChooseEntries op) {
        Entries entries = op.entries();
        int dim = (int) entries.x().cols();
        for (int t = 0; t < op.out().rows(); t++) {
            double[] scores = new double[entries.seen(t % entries.length())];
            for (int e = 0; e < scores.length; e++) {
                int row = t / entries.length() * entries.count() + e;
                for (int h = 0; h < op.weights().cols(); h++) {
                    double dot = 0;
                    for (int c = 0; c < dim; c++) {
                        dot += get(op.queries(), t, h * dim + c) * get(entries.x(), row, c);
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
        AttentionSpec.Heads heads = op.spec().heads();
        for (int t = 0; t < op.out().rows(); t++) {
            List<double[]> keys = keys(op, t);
            for (int h = 0; h < heads.count(); h++) {
                double sum = Math.exp(get(op.sinks(), h));
                double[] out = new double[heads.dim()];
                for (double[] key : keys) {
                    double dot = 0;
                    for (int c = 0; c < key.length; c++) {
                        dot += get(op.q(), t, h * heads.dim() + c) * key[c];
                    }
                    double p = Math.exp(op.spec().scale() * dot);
                    sum += p;
                    for (int c = 0; c < key.length; c++) {
                        out[c] += p * key[c];
                    }
                }
                for (int c = 0; c < out.length; c++) {
                    set(op.out(), t, h * heads.dim() + c, out[c] / sum);
                }
            }
        }
    }

    private static List<double[]> keys(CompressedOp.CompressedAttention op, int t) {
        Entries entries = op.entries();
        int position = t % entries.length();
        List<double[]> all = new ArrayList<>();
        for (int s = Math.max(0, position - op.spec().reach().window() + 1); s <= position; s++) {
            all.add(row(op.keys(), t - position + s));
        }
        for (int e = 0; e < entries.seen(position); e++) {
            boolean seen = op.chosen() == null;
            for (int i = 0; !seen && i < op.chosen().cols(); i++) {
                seen = get(op.chosen(), t, i) == e;
            }
            if (seen) {
                all.add(row(entries.x(), t / entries.length() * entries.count() + e));
            }
        }
        return all;
    }

    private static double[] row(Tensor x, int row) {
        return IntStream.range(0, (int) x.cols()).mapToDouble(c -> get(x, row, c)).toArray();
    }
}
