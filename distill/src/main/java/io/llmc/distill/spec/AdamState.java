// SPDX-License-Identifier: Apache-2.0
package io.llmc.distill.spec;

import io.llmc.backend.Backend;
import io.llmc.backend.ForwardOp;
import io.llmc.backend.Op;
import io.llmc.backend.OptimizerOp;
import io.llmc.backend.TensorArena;
import io.llmc.tensor.DType;
import io.llmc.tensor.Shape;
import io.llmc.tensor.Tensor;
import java.util.List;

/// What Adam remembers of one parameter: the running means of its gradient and of its square.
public sealed interface AdamState {
    /// 8 bytes a weight.
    record Full(Tensor m, Tensor v) implements AdamState {}

    /// About 2 bytes a weight.
    record Blockwise(OptimizerOp.Moment m, OptimizerOp.Moment v) implements AdamState {}

    /// Smaller tensors stay in F32: they are norms and biases, where errors matter most and memory
    /// least.
    long SMALLEST = 4096;

    /// An arena's rounding of one tensor.
    long ALIGN = 256;

    static AdamState zeros(
            DistillSpec.Algorithm algorithm, Shape shape, TensorArena arena, Backend backend) {
        AdamState state =
                isBlockwise(algorithm, shape.size())
                        ? new Blockwise(moment(shape, arena), moment(shape, arena))
                        : new Full(
                                arena.allocate(DType.F32, shape), arena.allocate(DType.F32, shape));
        state.tensors().forEach(t -> backend.run(new ForwardOp.Zero(t)));
        return state;
    }

    private static boolean isBlockwise(DistillSpec.Algorithm algorithm, long size) {
        return switch (algorithm) {
            case ADAMW -> false;
            case ADAMW8BIT -> size >= SMALLEST;
        };
    }

    private static OptimizerOp.Moment moment(Shape shape, TensorArena arena) {
        Shape scales = new Shape(OptimizerOp.Moment.scales(shape.size()));
        return new OptimizerOp.Moment(
                arena.allocate(DType.U8, shape), arena.allocate(DType.F32, scales));
    }

    /// Of an arena, at most.
    ///
    /// @param size values of the parameter
    static long bytes(DistillSpec.Algorithm algorithm, long size) {
        return isBlockwise(algorithm, size)
                ? 2 * (size + 4 * OptimizerOp.Moment.scales(size) + 2 * ALIGN)
                : 2 * (4 * size + ALIGN);
    }

    /// In a fixed order.
    default List<Tensor> tensors() {
        return switch (this) {
            case Full(var m, var v) -> List.of(m, v);
            case Blockwise(var m, var v) -> List.of(m.codes(), m.scales(), v.codes(), v.scales());
        };
    }

    /// What changes the parameter by its gradient, and this.
    default Op step(Tensor values, Tensor gradient, OptimizerOp.AdamSpec spec) {
        return switch (this) {
            case Full(var m, var v) ->
                    new OptimizerOp.AccumulateAdamW(values, m, v, gradient, spec);
            case Blockwise(var m, var v) ->
                    new OptimizerOp.AccumulateAdamW8(values, m, v, gradient, spec);
        };
    }
}
