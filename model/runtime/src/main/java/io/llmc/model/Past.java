// SPDX-License-Identifier: Apache-2.0
package io.llmc.model;

import io.llmc.backend.CompressedOp;
import io.llmc.backend.ForwardOp;
import io.llmc.backend.RecurrentOp;
import io.llmc.backend.SparseOp;
import io.llmc.model.structure.CacheSpec;
import io.llmc.model.structure.PageSpec;
import io.llmc.model.structure.StateSpec;

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

    /// Lets an operation go on where it stopped in each sequence, and keeps where it stops now.
    ///
    /// @param op over no sequences
    void resume(Forward f, StateSpec state, RecurrentOp op);
}
