// SPDX-License-Identifier: Apache-2.0
package io.llmc.backend;

import static io.llmc.backend.ReferenceOps.get;
import static io.llmc.backend.ReferenceOps.set;

import io.llmc.backend.OpCases.Case;
import io.llmc.tensor.DType;
import java.util.List;
import java.util.stream.IntStream;

/// Choices of keys and attention to them, with their formulas in double precision.
final class SparseCases {
    private SparseCases() {}

    static void all(List<Case> cases) {
        for (int most : new int[] {1, 7, 64}) {
            // So many heads that hardly a key has none that counts: zeros would be ties.
            cases.add(
                    new Case(
                            SparseOp.Choose.class,
                            "choose " + most,
                            OpCases.SUMS,
                            a ->
                                    new SparseOp.Choose(
                                            a.out(48, most),
                                            a.normal(48, 16 * 14),
                                            a.normal(48, 14),
                                            a.normal(48, 16),
                                            24)));
            cases.add(
                    new Case(
                            SparseOp.ChosenAttention.class,
                            "chosenAttention " + most,
                            OpCases.SUMS,
                            a ->
                                    new SparseOp.ChosenAttention(
                                            a.out(48, 4 * 10),
                                            a.normal(48, 4 * 6),
                                            a.normal(48, 2 * 6),
                                            a.normal(48, 2 * 10),
                                            a.of(
                                                    DType.F32,
                                                    i -> chosen(i / most % 24, i % most),
                                                    48,
                                                    most),
                                            new AttentionSpec(
                                                    new AttentionSpec.Heads(4, 2, 6, 10),
                                                    new AttentionSpec.Reach(24, 24, 0, 0),
                                                    0.4f,
                                                    0))));
        }
    }

    private static double chosen(long position, long i) {
        return i <= position / 2 ? 2 * i : -1;
    }

    static void run(SparseOp op) {
        switch (op) {
            case SparseOp.Choose choose -> choose(choose);
            case SparseOp.ChosenAttention attention -> attend(attention);
        }
    }

    private static void choose(SparseOp.Choose op) {
        int dim = (int) op.keys().cols();
        for (int row = 0; row < op.out().rows(); row++) {
            int position = row % op.length();
            double[] scores = new double[position + 1];
            for (int s = 0; s <= position; s++) {
                for (int h = 0; h < op.heads(); h++) {
                    double dot = 0;
                    for (int c = 0; c < dim; c++) {
                        dot +=
                                get(op.queries(), row, h * dim + c)
                                        * get(op.keys(), row - position + s, c);
                    }
                    scores[s] += get(op.weights(), row, h) * Math.max(0, dot);
                }
            }
            int[] chosen =
                    IntStream.rangeClosed(0, position)
                            .boxed()
                            .sorted((a, b) -> Double.compare(scores[b], scores[a]))
                            .limit(op.out().cols())
                            .sorted()
                            .mapToInt(i -> i)
                            .toArray();
            for (int i = 0; i < op.out().cols(); i++) {
                set(op.out(), row, i, i < chosen.length ? chosen[i] : -1);
            }
        }
    }

    private static void attend(SparseOp.ChosenAttention op) {
        AttentionSpec.Heads heads = op.spec().heads();
        int length = op.spec().reach().length();
        for (int row = 0; row < op.out().rows(); row++) {
            int first = row / length * length;
            for (int h = 0; h < heads.count(); h++) {
                double sum = 0;
                double[] out = new double[heads.valueDim()];
                for (int i = 0; i < op.chosen().cols() && get(op.chosen(), row, i) >= 0; i++) {
                    int s = first + (int) get(op.chosen(), row, i);
                    double dot = 0;
                    for (int c = 0; c < heads.dim(); c++) {
                        dot +=
                                get(op.q(), row, h * heads.dim() + c)
                                        * get(op.k(), s, h / heads.group() * heads.dim() + c);
                    }
                    double p = Math.exp(op.spec().scale() * dot);
                    sum += p;
                    for (int c = 0; c < heads.valueDim(); c++) {
                        out[c] += p * get(op.v(), s, h / heads.group() * heads.valueDim() + c);
                    }
                }
                for (int c = 0; c < heads.valueDim(); c++) {
                    set(op.out(), row, h * heads.valueDim() + c, out[c] / sum);
                }
            }
        }
    }
}
