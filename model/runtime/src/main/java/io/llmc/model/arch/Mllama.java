// SPDX-License-Identifier: Apache-2.0
package io.llmc.model.arch;

import io.llmc.formats.HfConfig;
import io.llmc.formats.RopeConfig;
import io.llmc.model.Architecture;
import io.llmc.model.LayerSpec;
import io.llmc.model.ModelSpec;
import io.llmc.model.structure.RopeSpec;
import java.util.List;
import java.util.Set;
import java.util.stream.IntStream;

/// Llama 3.2 Vision: Llama with blocks between the others that look at an image, and that a text
/// alone skips; the embedding has eight rows more than the output layer.
final class Mllama implements Architecture {
    private static final String LOOKING = "cross_attention_layers";

    @Override
    public List<String> modelTypes() {
        return List.of("mllama_text_model");
    }

    private static final Sizes.Defaults ABSENT =
            new Sizes.Defaults(8, 0, 1e-5, RopeConfig.Defaults.of(500_000, 131_072));

    @Override
    public ModelSpec spec(HfConfig c, Set<String> tensors) {
        Sizes s = Sizes.of(c, ABSENT);
        RopeSpec rope = s.rope();
        List<Integer> looking = c.integers(LOOKING);
        Sizes.requireTensors(c, "num_hidden_layers", Llama.prefix(s.layers() - 1), tensors);
        List<LayerSpec> reading =
                IntStream.range(0, s.layers())
                        .filter(i -> !looking.contains(i))
                        .mapToObj(i ->
                                Llama.layer(
                                        s,
                                        i,
                                        s.attention(
                                                Llama.prefix(i) + "self_attn.", rope, 0, false)))
                        .toList();
        if (reading.isEmpty()) {
            throw c.wrong(LOOKING, "not all of the layers");
        }
        return s.model(
                reading,
                Llama.input(s).withRows(s.vocabulary() + 8),
                Llama.output(s, s.norm("model.norm"), false));
    }

    @Override
    public boolean travels(String tensor, HfConfig config) {
        return config.integers(LOOKING).stream().anyMatch(i -> tensor.startsWith(Llama.prefix(i)))
                || Architecture.super.travels(tensor, config);
    }
}
