// SPDX-License-Identifier: Apache-2.0
package io.llmc.backend;

import io.llmc.backend.ForwardOp.Clamp;
import io.llmc.backend.ForwardOp.Curve;
import io.llmc.tensor.DType;
import io.llmc.tensor.Tensor;
import java.util.List;

/// Nonlinearities that have numbers: values on both sides of every bound.
final class ActivationCases {
    private static final List<Clamp> CLAMPS =
            List.of(
                    new Clamp(1.5f, 1.702f, 1),
                    new Clamp(0.75f, 1, 0),
                    new Clamp(Float.POSITIVE_INFINITY, 1, 0));

    private ActivationCases() {}

    static Curve curve(Operands a, DType type) {
        return new Curve(
                a.of(type, _ -> 0.75, 1),
                a.of(type, _ -> -0.5, 1),
                a.of(type, _ -> 0.5, 1),
                a.of(type, _ -> -0.125, 1));
    }

    static void forward(List<OpCases.Case> cases) {
        for (Clamp clamp : CLAMPS) {
            cases.add(
                    new OpCases.Case(
                            ForwardOp.ClampedSwiGlu.class,
                            "clampedSwiGlu " + clamp,
                            OpCases.ROUNDING,
                            a ->
                                    new ForwardOp.ClampedSwiGlu(
                                            a.out(5, 1021), wide(a), wide(a), clamp)));
            cases.add(
                    new OpCases.Case(
                            ForwardOp.ClampedSwiGlu.class,
                            "clampedSwiGlu extremes " + clamp,
                            OpCases.ROUNDING,
                            a ->
                                    new ForwardOp.ClampedSwiGlu(
                                            a.out(1, 6),
                                            OpCases.extremes(a),
                                            OpCases.extremes(a),
                                            clamp)));
        }
        for (DType type : List.of(DType.F32, DType.BF16)) {
            cases.add(
                    new OpCases.Case(
                            ForwardOp.Xielu.class,
                            "xielu " + type,
                            OpCases.ROUNDING,
                            a -> new ForwardOp.Xielu(a.out(5, 1021), wide(a), curve(a, type))));
            cases.add(
                    new OpCases.Case(
                            ForwardOp.Xielu.class,
                            "xielu extremes " + type,
                            OpCases.ROUNDING,
                            a ->
                                    new ForwardOp.Xielu(
                                            a.out(1, 6), OpCases.extremes(a), curve(a, type))));
        }
    }

    static void gradients(List<OpCases.Case> cases) {
        for (Clamp clamp : CLAMPS) {
            cases.add(
                    new OpCases.Case(
                            GradientOp.AccumulateClampedSwiGluGrad.class,
                            "clampedSwiGluGrad " + clamp,
                            OpCases.SUMS,
                            a ->
                                    new GradientOp.AccumulateClampedSwiGluGrad(
                                            OpCases.sum(a, 5, 1021),
                                            OpCases.sum(a, 5, 1021),
                                            a.normal(5, 1021),
                                            wide(a),
                                            wide(a),
                                            clamp)));
        }
        cases.add(
                new OpCases.Case(
                        GradientOp.AccumulateXieluGrad.class,
                        "xieluGrad",
                        OpCases.SUMS,
                        a ->
                                new GradientOp.AccumulateXieluGrad(
                                        OpCases.sum(a, 5, 1021),
                                        a.normal(5, 1021),
                                        wide(a),
                                        curve(a, DType.F32))));
    }

    private static Tensor wide(Operands a) {
        return a.normal(DType.F32, 2, 5, 1021);
    }
}
