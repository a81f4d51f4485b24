// SPDX-License-Identifier: Apache-2.0
package io.llmc.model;

import io.llmc.tensor.Tensor;
import java.util.List;
import java.util.Optional;

/// A body with its weights: parts in order, of which the last writes what the branch adds.
interface Body {
    List<Part> parts();

    /// What later blocks find beside the stream, in the order of the columns.
    default List<Left> leaves() {
        return List.of();
    }

    /// @param kept which of the tensors that the last part reads
    /// @param from its first column in the row
    record Left(int kept, int from) {}

    /// A stretch from one set of linear layers to the inputs of the next.
    interface Part {
        /// The layers that it multiplies by, those that share an input together.
        List<List<Linear>> groups();

        /// Whether each group sees only the tokens that were sent to it.
        default boolean routed() {
            return false;
        }

        /// The keys and values that it makes; empty where it makes none.
        default Optional<KvCache> cache() {
            return Optional.empty();
        }

        /// Allocates what it hands to the next part; the last one hands on nothing.
        default List<Tensor> results(Forward f, long tokens) {
            return List.of();
        }

        /// Shows the layers' inputs to the pass's tap, then, unless it only observes, goes through
        /// them. Temporaries go to the pass's arena, which ends soon.
        ///
        /// @param out the results, or the last part's `[tokens, hidden]`; empty where it only
        ///   observes
        void run(Forward f, List<Tensor> out, Reading in);
    }

    /// What a part reads.
    ///
    /// @param norm null for none
    /// @param row between blocks: the residual stream, and what stands beside it
    /// @param hidden columns of the stream
    /// @param kept what the part before handed on
    record Reading(Norm norm, Tensor row, int hidden, List<Tensor> kept) {
        /// The stream as it is, in the pass's arena.
        Tensor stream(Forward f) {
            return row.cols() == hidden ? row : f.columns(row, 0, hidden);
        }

        /// The stream as the body sees it, in the pass's arena. Norms are cheap: asked twice, it
        /// gives the same, and nothing is kept.
        Tensor normed(Forward f) {
            Tensor x = stream(f);
            if (norm == null) {
                return x;
            }
            Tensor normed = f.allocate(x.rows(), x.cols());
            norm.forward(f, normed, x);
            return normed;
        }
    }
}
