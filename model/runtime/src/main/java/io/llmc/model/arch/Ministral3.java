// SPDX-License-Identifier: Apache-2.0
package io.llmc.model.arch;

import io.llmc.formats.HfConfig;
import io.llmc.formats.Range;
import io.llmc.formats.RopeConfig;
import io.llmc.model.Architecture;
import io.llmc.model.ModelSpec;
import io.llmc.model.SelfAttentionSpec.Turns;
import io.llmc.model.structure.RopeSpec;
import java.util.List;
import java.util.Set;

/// Ministral 3: Llama whose queries grow with their position.
final class Ministral3 implements Architecture {
    @Override
    public List<String> modelTypes() {
        return List.of("ministral3");
    }

    private static final Sizes.Defaults ABSENT =
            new Sizes.Defaults(8, 128, 1e-5, RopeConfig.Defaults.of(1_000_000, 262_144));

    @Override
    public ModelSpec spec(HfConfig c, Set<String> tensors) {
        Sizes s = Sizes.of(c, ABSENT);
        if (!c.has("rope_parameters") && !c.has("rope_scaling")) {
            throw c.wrong("rope_parameters", "an object, as in every published ministral3");
        }
        Turns turns = turns(c, s.rope());
        int window = s.window(0);
        return Llama.decoder(
                s,
                tensors,
                i ->
                        Llama.layer(
                                s,
                                i,
                                s.attention(Llama.prefix(i) + "self_attn.", null, window, false)
                                        .with(turns)));
    }

    private static Turns turns(HfConfig c, RopeSpec rope) {
        return c.section("rope_parameters")
                .filter(p -> p.has("llama_4_scaling_beta"))
                .map(p ->
                        new RopeSpec.Growth(
                                p.decimal("llama_4_scaling_beta", Range.above(0, 1e6)),
                                p.integer("original_max_position_embeddings", HfConfig.POSITIONS),
                                0))
                .map(growth -> new Turns(rope.growing(growth), rope))
                .orElse(Turns.of(rope));
    }
}
