// SPDX-License-Identifier: Apache-2.0
package io.llmc.backend;

import io.llmc.backend.AttentionSpec.Heads;
import io.llmc.backend.AttentionSpec.Reach;
import io.llmc.tensor.DType;
import io.llmc.tensor.Tensor;
import java.util.ArrayList;
import java.util.List;

/// Attention, its gradient and its loss: each parameter alone, and all of them together, for heads
/// that a GPU multiplies on tensor cores and for wider ones.
final class AttentionCases {
    private AttentionCases() {}

    /// @param sinks size of the sinks; 0 for none
    private record Shape(AttentionSpec spec, double sinks, boolean slopes) {
        Shape(Heads heads, Reach reach, float scale, float softcap) {
            this(new AttentionSpec(heads, reach, scale, softcap), 0, false);
        }

        Shape withSinks(double size) {
            return new Shape(spec, size, slopes);
        }

        Shape withSlopes() {
            return new Shape(spec, sinks, true);
        }

        int queries() {
            return 2 * spec.reach().length();
        }

        int keys() {
            return 2 * spec.reach().keys();
        }

        private Tensor sinks(Operands a) {
            return sinks == 0 ? null : a.normal(DType.F32, sinks, spec.heads().count());
        }

        private Tensor slopes(Operands a) {
            return slopes
                    ? a.of(DType.F32, i -> 0.8 * Math.pow(2, -i), spec.heads().count())
                    : null;
        }
    }

    /// As many values as keys, and as wide.
    private static Shape plain(
            int length, int heads, int kv, int dim, float scale, int window, float softcap) {
        return new Shape(
                new Heads(heads, kv, dim, dim),
                new Reach(length, length, window, 0),
                scale,
                softcap);
    }

    private static Reach all(int length) {
        return new Reach(length, length, 0, 0);
    }

    static void forward(List<OpCases.Case> cases) {
        List<Shape> shapes =
                new ArrayList<>(
                        List.of(
                                plain(1, 1, 1, 8, 1, 0, 0),
                                plain(7, 3, 1, 33, 0.2f, 0, 0),
                                plain(33, 2, 2, 64, 0.125f, 0, 0),
                                plain(199, 9, 3, 64, 0.125f, 0, 0),
                                plain(250, 2, 1, 16, 0.5f, 100, 0),
                                plain(250, 2, 1, 16, 0.5f, 1, 0),
                                plain(120, 4, 2, 20, 1, 17, 5),
                                plain(40, 72, 1, 8, 0.3f, 0, 30),
                                plain(300, 1, 1, 128, 3, 0, 0),
                                plain(130, 2, 1, 96, 0.1f, 70, 0),
                                plain(100, 2, 1, 127, 0.1f, 33, 3),
                                plain(150, 2, 1, 256, 0.06f, 0, 0),
                                plain(70, 2, 1, 300, 0.06f, 20, 4)));
        shapes.addAll(parameters(250));
        for (Shape s : shapes) {
            cases.add(
                    new OpCases.Case(
                            ForwardOp.Attention.class, s.toString(), OpCases.SUMS, a -> op(a, s)));
        }
    }

    /// Each parameter, at about so many keys.
    private static List<Shape> parameters(int keys) {
        Heads narrow = new Heads(4, 2, 16, 16);
        Heads wide = new Heads(2, 1, 160, 160);
        Heads both = new Heads(6, 2, 24, 40);
        return List.of(
                // a decoder's single query, some queries, and none that see the first keys
                new Shape(narrow, new Reach(1, keys, 0, 0), 0.25f, 0),
                new Shape(new Heads(3, 1, 128, 128), new Reach(5, 100, 0, 0), 0.1f, 0),
                new Shape(narrow, new Reach(70, keys, 37, 0), 0.25f, 0),
                new Shape(wide, new Reach(3, 150, 9, 0), 0.1f, 0),
                // chunks that do not divide the sequence, nor a tile
                new Shape(narrow, new Reach(keys, keys, 0, 40), 0.5f, 0),
                new Shape(narrow, new Reach(30, 170, 0, 64), 0.5f, 0),
                new Shape(narrow, new Reach(90, 100, 7, 33), 0.5f, 0),
                new Shape(narrow, new Reach(9, 9, 0, 1), 0.5f, 0),
                new Shape(wide, new Reach(140, 150, 0, 70), 0.1f, 0),
                // values narrower and wider than keys
                new Shape(new Heads(4, 2, 40, 16), all(70), 0.2f, 0),
                new Shape(new Heads(4, 2, 16, 41), all(70), 0.2f, 0),
                new Shape(new Heads(2, 1, 192, 128), all(70), 0.1f, 0),
                new Shape(new Heads(2, 1, 64, 321), all(70), 0.1f, 0),
                plain(70, 4, 2, 16, 0.25f, 0, 0).withSinks(1),
                plain(70, 4, 2, 16, 0.25f, 0, 0).withSinks(25),
                plain(90, 4, 2, 64, 0.25f, 20, 0).withSinks(2),
                plain(70, 2, 1, 160, 0.1f, 20, 0).withSinks(2),
                plain(100, 4, 2, 16, 0.25f, 0, 0).withSlopes(),
                plain(70, 2, 1, 160, 0.1f, 0, 0).withSlopes(),
                new Shape(both, new Reach(60, 100, 50, 45), 0.3f, 4).withSinks(1).withSlopes(),
                new Shape(new Heads(4, 2, 150, 70), new Reach(60, 100, 50, 45), 0.1f, 4)
                        .withSinks(1)
                        .withSlopes());
    }

    private static ForwardOp.Attention op(Operands a, Shape s) {
        Heads heads = s.spec().heads();
        return new ForwardOp.Attention(
                a.out(s.queries(), heads.outWidth()),
                a.normal(s.queries(), heads.queryWidth()),
                a.normal(s.keys(), heads.keyWidth()),
                a.normal(s.keys(), heads.valueWidth()),
                s.sinks(a),
                s.slopes(a),
                s.spec());
    }

    static void gradients(List<OpCases.Case> cases) {
        List<Shape> shapes =
                new ArrayList<>(
                        List.of(
                                plain(1, 1, 1, 8, 1, 0, 0),
                                plain(7, 3, 1, 33, 0.2f, 0, 0),
                                plain(100, 6, 3, 16, 0.25f, 0, 0),
                                plain(150, 2, 1, 16, 0.5f, 70, 0),
                                plain(70, 2, 2, 16, 0.5f, 1, 0),
                                plain(80, 4, 2, 20, 1, 17, 5),
                                plain(130, 2, 1, 96, 0.1f, 70, 0),
                                plain(100, 2, 1, 127, 0.1f, 33, 3),
                                plain(150, 2, 1, 256, 0.06f, 0, 0),
                                plain(70, 2, 1, 300, 0.06f, 20, 4)));
        shapes.addAll(parameters(150));
        for (Shape s : shapes) {
            cases.add(
                    new OpCases.Case(
                            GradientOp.AccumulateAttentionGrad.class,
                            "gradient of " + s,
                            1e-9,
                            a -> gradient(a, s)));
        }
    }

    private static Op gradient(Operands a, Shape s) {
        Heads heads = s.spec().heads();
        Tensor q = a.normal(s.queries(), heads.queryWidth());
        Tensor k = a.normal(s.keys(), heads.keyWidth());
        Tensor v = a.normal(s.keys(), heads.valueWidth());
        Tensor dout = a.normal(s.queries(), heads.outWidth());
        Tensor sinks = s.sinks(a);
        Tensor slopes = s.slopes(a);
        Tensor out = a.of(DType.F32, _ -> 0, s.queries(), heads.outWidth());
        var forward = new ForwardOp.Attention(out, q, k, v, sinks, slopes, s.spec());
        a.run(forward);
        return new GradientOp.AccumulateAttentionGrad(
                OpCases.sum(a, s.queries(), heads.queryWidth()),
                OpCases.sum(a, s.keys(), heads.keyWidth()),
                OpCases.sum(a, s.keys(), heads.valueWidth()),
                sinks == null ? null : OpCases.sum(a, heads.count()),
                dout,
                forward);
    }

    static void losses(List<OpCases.Case> cases) {
        Shape narrow = plain(13, 6, 2, 5, 0.4f, 0, 0);
        loss(cases, narrow, plain(13, 6, 3, 7, 0.3f, 0, 0), true);
        loss(cases, narrow, narrow, false);
        Shape capped = plain(13, 6, 6, 16, 0.25f, 4, 2);
        loss(cases, capped, capped, true);
        Reach reach = new Reach(70, 90, 50, 33);
        Shape all = new Shape(new Heads(4, 2, 16, 1), reach, 0.25f, 3).withSlopes();
        loss(cases, all, new Shape(new Heads(4, 1, 70, 1), reach, 0.1f, 0), true);
        Shape one = new Shape(new Heads(2, 1, 16, 1), new Reach(1, 140, 20, 0), 0.25f, 0);
        loss(cases, one, one.withSlopes(), true);
    }

    private static void loss(
            List<OpCases.Case> cases, Shape student, Shape teacher, boolean learns) {
        cases.add(
                new OpCases.Case(
                        LossOp.AccumulateAttentionLoss.class,
                        "attentionLoss %s, learns %s".formatted(student, learns),
                        OpCases.SUMS,
                        a -> {
                            LossOp.Scores mine = scores(a, student);
                            return new LossOp.AccumulateAttentionLoss(
                                    learns
                                            ? OpCases.sum(a, mine.q().rows(), mine.q().cols())
                                            : null,
                                    learns
                                            ? OpCases.sum(a, mine.k().rows(), mine.k().cols())
                                            : null,
                                    a.out(
                                            DType.F64,
                                            student.queries(),
                                            student.spec().heads().count()),
                                    mine,
                                    scores(a, teacher),
                                    2f);
                        }));
    }

    private static LossOp.Scores scores(Operands a, Shape s) {
        Heads heads = s.spec().heads();
        return new LossOp.Scores(
                a.normal(s.queries(), heads.queryWidth()),
                a.normal(s.keys(), heads.keyWidth()),
                s.slopes(a),
                s.spec());
    }
}
