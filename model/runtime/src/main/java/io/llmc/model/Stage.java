// SPDX-License-Identifier: Apache-2.0
package io.llmc.model;

import io.llmc.tensor.Tensor;
import java.util.List;
import java.util.Optional;

/// A stretch of a block from one set of linear layers to the input of the next.
///
/// A block is its stages in order. Calibration walks them one by one over all sequences (true
/// sequential: a stage sees the outputs of the compressed stages before it), and what a stage hands
/// on is small enough to keep, so that no product is ever computed twice.
public interface Stage {
    /// The layers that this stage multiplies by, those that share an input together.
    List<List<Linear>> groups();

    /// The same, one after the other.
    default List<Linear> linears() {
        return groups().stream().flatMap(List::stream).toList();
    }

    /// Whether each group sees only the tokens that were sent to it, as experts do; else all see
    /// whole sequences.
    boolean routed();

    /// The keys and values that it makes; empty where it makes none.
    Optional<KvCache> cache();

    /// Shows the layers' inputs to the pass's tap, then, unless it only observes, goes through
    /// them.
    ///
    /// @return what the next stage reads, allocated in the pass's arena; where it only observes,
    ///   `in`
    Activations run(Forward f, Activations in);

    /// What flows between stages.
    ///
    /// @param x the residual stream `[tokens, hidden]`
    /// @param kept input of the next stage's layers where it is not made from x; may be empty
    record Activations(Tensor x, List<Tensor> kept) {
        public static Activations of(Tensor x) {
            return new Activations(x, List.of());
        }
    }
}
