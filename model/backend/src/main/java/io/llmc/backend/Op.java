// SPDX-License-Identifier: Apache-2.0
package io.llmc.backend;

import io.llmc.tensor.Tensor;
import java.util.Arrays;
import java.util.Set;
import java.util.stream.Stream;

/// Every operation a backend must run, in families of a page each. A record's constructor checks
/// its shapes, so a kernel never does.
///
/// An operation writes its first operand(s) and nothing else, and never reads what it overwrites,
/// except where its name says that it accumulates. Activations are F32 `[tokens, channels]` unless
/// said; parameters (norm weights, biases, embeddings) may be F32, F16 or BF16. Optional operands
/// are null where absent.
public sealed interface Op
        permits ForwardOp,
                CacheOp,
                RecurrentOp,
                SparseOp,
                CompressedOp,
                GradientOp,
                OptimizerOp,
                LossOp,
                StatisticOp,
                CompressionOp,
                SmallFloatOp {
    /// What the CPU alone runs: nothing, until an operation comes without a kernel for GPUs.
    Set<Class<? extends Op>> ON_CPU_ALONE = Set.of();

    /// Everything read or written, for the device and lifetime check.
    Stream<Tensor> operands();

    /// What every backend checks before it runs anything; about 0.1 µs.
    ///
    /// @throws IllegalStateException where an operand's arena was closed
    /// @throws IllegalArgumentException where an operand lies on another device
    default void requireOn(String device) {
        operands()
                .forEach(t -> {
                    if (!t.buffer().isAlive()) {
                        throw new IllegalStateException(
                                t + " is used after its arena was closed: " + this);
                    }
                    if (!t.buffer().device().equals(device)) {
                        throw new IllegalArgumentException(
                                t + " is not on " + device + ": " + this);
                    }
                });
    }

    /// The record classes of all families.
    static Stream<Class<? extends Op>> all() {
        return Arrays.stream(Op.class.getPermittedSubclasses())
                .flatMap(family -> Arrays.stream(family.getPermittedSubclasses()))
                .map(op -> op.asSubclass(Op.class));
    }
}
