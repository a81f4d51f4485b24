// SPDX-License-Identifier: Apache-2.0
package io.llmc.model;

import io.llmc.backend.CompressedOp;
import io.llmc.backend.ForwardOp;
import io.llmc.backend.RecurrentOp;
import io.llmc.backend.SparseOp;
import io.llmc.model.structure.CacheSpec;
import io.llmc.model.structure.PageSpec;
import io.llmc.model.structure.StateSpec;
import io.llmc.tensor.Tensor;
import java.util.List;

/// What layers have kept of the tokens before a pass.
public interface Past {
    /// Keeps the pass's keys and values, and lets its queries attend to them and to all that the
    /// layer has kept of their sequences.
    ///
    /// @param layer whose they are
    /// @param op attention of the pass's rows as if there were nothing before them
    void attend(Forward f, CacheSpec layer, ForwardOp.Attention op);

    /// Keeps what the pass's keys are chosen by, and chooses among those and all that the layer has
    /// kept of their sequences.
    ///
    /// @param op a choice among the pass's rows as if there were nothing before them
    void choose(Forward f, PageSpec keys, SparseOp.Choose op);

    /// Keeps the pass's keys and values, and lets its queries attend to what they have chosen.
    ///
    /// @param op attention to the pass's rows as if there were nothing before them
    void attend(Forward f, CacheSpec layer, SparseOp.ChosenAttention op);

    /// Keeps the pass's tokens, and makes keys of these and of those before them.
    ///
    /// @param op over the pass's rows as if there were nothing before them
    void compress(Forward f, PageSpec tokens, CompressedOp.Compress op);

    /// Keeps the pass's keys of several tokens, and chooses among those and all before them.
    ///
    /// @param op a choice among the pass's rows as if there were nothing before them
    void choose(Forward f, PageSpec entries, CompressedOp.ChooseEntries op);

    /// Keeps the pass's keys, of single tokens and of several, and lets its queries attend to those
    /// and to all before them.
    ///
    /// @param op attention to the pass's rows as if there were nothing before them
    void attend(Forward f, PageSpec keys, PageSpec entries, CompressedOp.CompressedAttention op);

    /// Keeps the pass's rows of what a layer keeps of every token.
    void keep(Forward f, PageSpec pages, Tensor rows);

    /// The sequences of the pass.
    List<Part> parts();

    /// Rows of the pass that each of them has at least.
    default int leastLength() {
        return parts().stream().mapToInt(Part::length).min().orElse(0);
    }

    /// @param row of the pass, its first
    /// @param length rows of the pass
    /// @param keys tokens that are kept, with those
    record Part(int row, int length, int keys) {}

    /// All that is kept of a sequence, its rows of the pass among it.
    ///
    /// @param out `[keys, heads * width]`
    void recall(Forward f, PageSpec pages, Part part, Tensor out);

    /// Lets an operation go on where it stopped in each sequence, and keeps where it stops now.
    ///
    /// @param op over no sequences
    void resume(Forward f, StateSpec state, RecurrentOp op);
}
