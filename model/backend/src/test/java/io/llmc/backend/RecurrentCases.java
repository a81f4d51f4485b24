// SPDX-License-Identifier: Apache-2.0
package io.llmc.backend;

import io.llmc.backend.OpCases.Case;
import io.llmc.backend.RecurrentOp.Heads;
import io.llmc.backend.RecurrentOp.Run;
import io.llmc.tensor.DType;
import io.llmc.tensor.Tensor;
import java.util.List;

/// Convolutions and recurrences: of whole sequences, and of some that go on.
final class RecurrentCases {
    private static final int ROWS = 84;

    private RecurrentCases() {}

    static void all(List<Case> cases) {
        for (DType type : List.of(DType.F32, DType.F16, DType.BF16)) {
            for (int taps : new int[] {1, 3, 4}) {
                convolutions(cases, type, taps);
            }
        }
        recurrences(cases);
    }

    private static void convolutions(List<Case> cases, DType type, int taps) {
        for (int cols : new int[] {1, 48, 333}) {
            for (int length : new int[] {1, 2, 70}) {
                String name = "%d taps %s, %d of %d".formatted(taps, type, length, cols);
                cases.add(
                        new Case(
                                ForwardOp.Convolve.class,
                                "convolve " + name,
                                OpCases.SUMS,
                                a -> convolve(a, type, taps, cols, 2 * length, length)));
                cases.add(
                        new Case(
                                GradientOp.AccumulateConvolveGrad.class,
                                "convolveGrad " + name,
                                OpCases.SUMS,
                                a ->
                                        new GradientOp.AccumulateConvolveGrad(
                                                a.written(DType.F32, i -> i % 7, 2 * length, cols),
                                                a.written(DType.F32, i -> i % 5, cols, taps),
                                                a.normal(2 * length, cols),
                                                a.normal(2 * length, cols),
                                                a.normal(type, 1, cols, taps),
                                                length)));
            }
            if (taps > 1) {
                cases.add(
                        new Case(
                                RecurrentOp.ResumeConvolve.class,
                                "resumeConvolve %d taps %s, %d".formatted(taps, type, cols),
                                OpCases.SUMS,
                                a -> resume(a, type, taps, cols)));
            }
        }
    }

    private static ForwardOp.Convolve convolve(
            Operands a, DType type, int taps, int cols, int rows, int length) {
        return new ForwardOp.Convolve(
                a.out(rows, cols),
                a.normal(rows, cols),
                a.normal(type, 1, cols, taps),
                taps == 3 ? null : a.normal(type, 1, cols),
                length);
    }

    /// One that begins, one that ends elsewhere, one of a single row in its place, one that is not
    /// kept.
    private static Op resume(Operands a, DType type, int taps, int cols) {
        ForwardOp.Convolve op = convolve(a, type, taps, cols, 79, 79);
        Tensor same = a.written(DType.F32, i -> i % 11 - 5, taps - 1, cols);
        return new RecurrentOp.ResumeConvolve(
                op,
                List.of(
                        new Run(0, 2, null, a.out(taps - 1, cols)),
                        new Run(2, 66, a.normal(taps - 1, cols), a.out(taps - 1, cols)),
                        new Run(68, 1, same, same),
                        new Run(69, 10, a.normal(taps - 1, cols), null)));
    }

    private static void recurrences(List<Case> cases) {
        for (Heads heads :
                List.of(
                        new Heads(1, 1, 1, 1),
                        new Heads(2, 4, 8, 10),
                        new Heads(3, 3, 128, 64),
                        new Heads(1, 2, 64, 130))) {
            for (boolean byChannel : new boolean[] {false, true}) {
                for (float bound : new float[] {0, -5}) {
                    cases.add(
                            new Case(
                                    RecurrentOp.DeltaRule.class,
                                    "deltaRule %s, by channel %s, bound %s"
                                            .formatted(heads, byChannel, bound),
                                    OpCases.SUMS,
                                    a -> deltaRule(a, heads, byChannel, bound)));
                }
            }
            for (float least : new float[] {0, 0.5f}) {
                cases.add(
                        new Case(
                                RecurrentOp.StateSpace.class,
                                "stateSpace %s, steps from %s".formatted(heads, least),
                                OpCases.SUMS,
                                a -> stateSpace(a, heads, least)));
            }
        }
        for (int channels : new int[] {1, 64, 83}) {
            for (int states : new int[] {1, 16}) {
                cases.add(
                        new Case(
                                RecurrentOp.SelectiveScan.class,
                                "selectiveScan of %d channels with %d".formatted(channels, states),
                                OpCases.SUMS,
                                a -> selectiveScan(a, channels, states)));
            }
        }
    }

    /// As [#resume].
    private static List<Run> runs(Operands a, long rows, long cols) {
        Tensor same = a.written(DType.F32, i -> (i % 11 - 5) / 10., rows, cols);
        return List.of(
                new Run(0, 3, null, a.out(rows, cols)),
                new Run(3, 70, a.normal(DType.F32, 0.3, rows, cols), a.out(rows, cols)),
                new Run(73, 1, same, same),
                new Run(74, 10, a.normal(DType.F32, 0.3, rows, cols), null));
    }

    private static Op deltaRule(Operands a, Heads heads, boolean byChannel, float bound) {
        int decays = byChannel ? (int) heads.stateRows() : heads.values();
        return new RecurrentOp.DeltaRule(
                a.out(ROWS, heads.valueWidth()),
                a.normal(ROWS, heads.keyWidth()),
                a.normal(ROWS, heads.keyWidth()),
                a.normal(ROWS, heads.valueWidth()),
                new RecurrentOp.Decay(
                        a.normal(ROWS, decays),
                        a.normal(DType.F32, 0.5, heads.values()),
                        a.normal(DType.BF16, 1, decays),
                        bound),
                a.normal(ROWS, heads.values()),
                heads,
                runs(a, heads.stateRows(), heads.valueDim()));
    }

    private static Op stateSpace(Operands a, Heads heads, float least) {
        return new RecurrentOp.StateSpace(
                a.out(ROWS, heads.valueWidth()),
                a.normal(ROWS, heads.keyWidth()),
                a.normal(ROWS, heads.keyWidth()),
                a.normal(ROWS, heads.valueWidth()),
                new RecurrentOp.Steps(
                        a.normal(ROWS, heads.values()),
                        a.normal(DType.BF16, 0.5, heads.values()),
                        a.normal(heads.values()),
                        least,
                        least == 0 ? Float.POSITIVE_INFINITY : 0.9f),
                a.normal(DType.F16, 1, heads.values()),
                heads,
                runs(a, heads.stateRows(), heads.valueDim()));
    }

    private static Op selectiveScan(Operands a, int channels, int states) {
        return new RecurrentOp.SelectiveScan(
                a.out(ROWS, channels),
                a.normal(ROWS, channels),
                a.normal(ROWS, channels),
                a.normal(ROWS, states),
                a.normal(ROWS, states),
                a.normal(DType.BF16, 0.5, channels, states),
                a.normal(DType.F16, 1, channels),
                runs(a, states, channels));
    }
}
