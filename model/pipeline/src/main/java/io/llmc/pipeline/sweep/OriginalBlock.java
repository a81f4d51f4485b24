// SPDX-License-Identifier: Apache-2.0
package io.llmc.pipeline.sweep;

import io.llmc.backend.Desk;
import io.llmc.model.DecoderBlock;
import io.llmc.model.Stage;
import io.llmc.model.language.LanguageModel;
import io.llmc.model.language.Replacement;
import io.llmc.model.structure.ScaleGroup;
import io.llmc.pipeline.pass.HiddenStates;
import java.util.Map;

/// A block as it was before any pass, over the same weights in memory, and how far into it the
/// original model's sequences are. They go on when somebody asks for more, and never back by
/// themselves.
final class OriginalBlock {
    private final LanguageModel model;
    private final HiddenStates states;
    private DecoderBlock block;
    private int advanced;
    private boolean marked;

    OriginalBlock(LanguageModel model, HiddenStates states, DecoderBlock block) {
        this.model = model;
        this.states = states;
        this.block = copy(block, new Replacement(block, model.checkpoint().directory()));
        states.prepare(this.block);
    }

    private DecoderBlock copy(DecoderBlock of, Replacement parameters) {
        return model.block(of.spec(), parameters);
    }

    HiddenStates states() {
        return states;
    }

    /// Where several passes look into the block.
    void keepInputs() {
        states.mark();
        marked = true;
    }

    /// The stage of this place, with the sequences before it.
    Stage before(int stage) {
        if (stage < advanced) {
            if (!marked) {
                throw new IllegalStateException("the original's sequences have gone on");
            }
            states.rewind();
            states.mark();
            advanced = 0;
        }
        advance(stage);
        return block.stages().get(stage);
    }

    /// The sequences behind the block.
    HiddenStates behind() {
        advance(block.stages().size());
        return states;
    }

    private void advance(int to) {
        states.advance(block.stages().subList(advanced, to));
        advanced = to;
    }

    /// Scales channels as they are scaled in the compressed model, so that the two can be compared;
    /// it computes the same.
    void rescale(Map<ScaleGroup, float[]> factors, Desk desk) {
        Replacement parameters = new Replacement(block, model.checkpoint().directory());
        factors.forEach((group, each) -> parameters.rescale(group, each, desk));
        block = copy(block, parameters);
        states.prepare(block);
    }
}
