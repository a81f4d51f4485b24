// SPDX-License-Identifier: Apache-2.0
package io.llmc.model.arch;

import io.llmc.formats.HfConfig;
import io.llmc.formats.RopeConfig;
import io.llmc.model.Architecture;
import io.llmc.model.ModelSpec;
import io.llmc.model.structure.RopeSpec;
import java.util.List;
import java.util.Set;

/// ERNIE 4.5: Llama that turns pairs of neighbours.
final class Ernie45 implements Architecture {
    @Override
    public List<String> modelTypes() {
        return List.of("ernie4_5");
    }

    private static final Sizes.Defaults ABSENT =
            new Sizes.Defaults(2, 128, 1e-5, RopeConfig.Defaults.of(500_000, 131_072));

    @Override
    public ModelSpec spec(HfConfig c, Set<String> tensors) {
        Sizes s = Sizes.of(c, ABSENT);
        RopeSpec rope = s.rope().inPairs();
        boolean biased = c.flag("use_bias", false);
        return s.model(
                s.stack(
                        tensors,
                        i ->
                                Llama.layer(
                                        s,
                                        i,
                                        s.attention(
                                                Llama.prefix(i) + "self_attn.", rope, 0, biased),
                                        s.mlp(
                                                Llama.prefix(i) + "mlp.",
                                                "hidden_act",
                                                "silu",
                                                biased))),
                Llama.input(s),
                Llama.output(s, s.norm("model.norm"), true));
    }
}
