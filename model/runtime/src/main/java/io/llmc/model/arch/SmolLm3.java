// SPDX-License-Identifier: Apache-2.0
package io.llmc.model.arch;

import io.llmc.formats.HfConfig;
import io.llmc.formats.RopeConfig;
import io.llmc.model.Architecture;
import io.llmc.model.ModelSpec;
import io.llmc.model.structure.RopeSpec;
import java.util.List;
import java.util.Set;
import java.util.stream.IntStream;

/// SmolLM 3: Llama with layers that do not turn.
final class SmolLm3 implements Architecture {
    @Override
    public List<String> modelTypes() {
        return List.of("smollm3");
    }

    private static final Sizes.Defaults ABSENT =
            new Sizes.Defaults(4, 0, 1e-6, RopeConfig.Defaults.of(2_000_000, 32_768));

    @Override
    public ModelSpec spec(HfConfig c, Set<String> tensors) {
        Sizes s = Sizes.of(c, ABSENT);
        RopeSpec rope = s.rope();
        List<Boolean> turns = turns(s);
        List<Integer> windows = Qwen2.windows(s);
        return s.model(
                s.stack(
                        tensors,
                        i ->
                                Llama.layer(
                                        s,
                                        i,
                                        s.attention(
                                                Llama.prefix(i) + "self_attn.",
                                                turns.get(i) ? rope : null,
                                                windows.get(i),
                                                c.flag("attention_bias", false)))),
                Llama.input(s),
                Llama.output(s, s.norm("model.norm"), true));
    }

    /// Whether each layer turns: 1 in `no_rope_layers` says that it does.
    static List<Boolean> turns(Sizes s) {
        HfConfig c = s.config();
        List<Integer> given = c.integers("no_rope_layers");
        if (!given.isEmpty() && given.size() != s.layers()) {
            throw c.wrong("no_rope_layers", "%d numbers, one for each layer".formatted(s.layers()));
        }
        int period = c.integer("no_rope_layer_interval", Sizes.LAYERS, 4);
        return IntStream.range(0, s.layers())
                .mapToObj(i -> given.isEmpty() ? (i + 1) % period != 0 : given.get(i) != 0)
                .toList();
    }
}
