// SPDX-License-Identifier: Apache-2.0
package io.llmc.pipeline.pass;

import io.llmc.backend.Desk;
import io.llmc.formats.GridSpec;
import io.llmc.formats.checkpoint.Checkpoint;
import io.llmc.formats.checkpoint.WeightLayout;
import io.llmc.model.ModelSpec;
import io.llmc.tensor.Codes;
import io.llmc.tensor.Scheme;
import io.llmc.tensor.Weight;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Optional;
import java.util.SequencedMap;

/// Changes what blocks alone cannot: which of them there are, or the width of the stream between
/// them. It decides once, then gives another view of the checkpoint, of which each tensor is made
/// when the sweep reads it.
public non-sealed interface ModelPass extends Pass {
    /// Whether it takes a model whose weights are packed.
    default boolean unpacks() {
        return false;
    }

    /// What a user should know before any work.
    default Optional<String> note(Checkpoint source) {
        return Optional.empty();
    }

    /// A checkpoint of the sizes that [#view] will have, to plan with; its values do not matter.
    ///
    /// @throws io.llmc.formats.UserException where the model cannot be changed in this way
    Checkpoint outline(Checkpoint source);

    /// How an output is written.
    ///
    /// @param toolVersion for its config
    record Spelling(WeightLayout layout, String toolVersion) {}

    /// What is planned with.
    ///
    /// @param notes that a user should see before any work
    record Outlined(Checkpoint checkpoint, List<String> notes) {}

    /// As [#outline(Checkpoint)] and [#note], for a pass to which it matters how the output is
    /// written.
    default Outlined outline(Checkpoint source, Spelling spelling) {
        return new Outlined(outline(source), note(source).stream().toList());
    }

    /// Bytes of the device that the decision takes beside a pass of the sequences through the
    /// model.
    ///
    /// @param windows calibration sequences; 0 for none
    /// @param length tokens of each
    long workBytes(ModelSpec spec, int windows, int length);

    /// Bytes of the device that making a tensor of its view takes at most, beside that tensor and
    /// what it is made of.
    default long makingBytes(ModelSpec spec) {
        return 0;
    }

    /// Decides and gives the view.
    Checkpoint view(ModelScope scope);

    /// Layers outside of the blocks that it rounds: the output layer, the token embedding. They are
    /// plain in its view.
    ///
    /// @param spec of that view
    default SequencedMap<String, Scheme> outer(ModelSpec spec) {
        return new LinkedHashMap<>();
    }

    /// Rounds one of them.
    ///
    /// @param d receives the weight
    default Weight round(Desk d, Weight w, GridSpec<Codes.Ints> grid) {
        throw new IllegalStateException(name() + " rounds no layer outside of the blocks");
    }

    /// Bytes of the device that [#round] works in, beside what it gives.
    default long roundBytes(long out, long in) {
        return 0;
    }
}
