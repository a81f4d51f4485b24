// SPDX-License-Identifier: Apache-2.0
package io.llmc.model.arch;

import io.llmc.formats.HfConfig;
import io.llmc.formats.RopeConfig;
import io.llmc.model.Architecture;
import io.llmc.model.ModelSpec;
import io.llmc.model.structure.RopeSpec;
import java.util.List;
import java.util.Set;

/// Qwen 3: Llama with an RMS norm over each head of q and k, before the rotation.
final class Qwen3 implements Architecture {
    @Override
    public List<String> modelTypes() {
        return List.of("qwen3", "qwen3_vl_text");
    }

    private static final Sizes.Defaults ABSENT =
            new Sizes.Defaults(32, 128, 1e-6, RopeConfig.Defaults.of(10_000, 32_768));

    @Override
    public ModelSpec spec(HfConfig c, Set<String> tensors) {
        Sizes s = Sizes.of(c, ABSENT);
        RopeSpec rope = s.rope();
        float scale = (float) (1 / Math.sqrt(s.headDim()));
        List<Integer> windows = Qwen2.windows(s);
        return Llama.decoder(
                s,
                tensors,
                i ->
                        Llama.layer(
                                s,
                                i,
                                s.attentionWithHeadNorms(
                                        Llama.prefix(i) + "self_attn.",
                                        rope,
                                        windows.get(i),
                                        scale,
                                        0)));
    }
}
