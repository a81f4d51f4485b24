// SPDX-License-Identifier: Apache-2.0
package io.llmc.model.arch;

import io.llmc.formats.HfConfig;
import io.llmc.formats.RopeConfig;
import io.llmc.model.Architecture;
import io.llmc.model.ModelSpec;
import io.llmc.model.structure.RopeSpec;
import java.util.List;
import java.util.Set;

/// Seed-OSS: Llama whose output projection has a bias of its own will.
final class SeedOss implements Architecture {
    @Override
    public List<String> modelTypes() {
        return List.of("seed_oss");
    }

    private static final Sizes.Defaults ABSENT =
            new Sizes.Defaults(8, 128, 1e-6, RopeConfig.Defaults.of(10_000, 524_288));

    @Override
    public ModelSpec spec(HfConfig c, Set<String> tensors) {
        Sizes s = Sizes.of(c, ABSENT);
        RopeSpec rope = s.rope();
        boolean biased = c.flag("attention_bias", true);
        boolean outputBiased = c.flag("attention_out_bias", false);
        boolean mlpBiased = c.flag("mlp_bias", false);
        return Llama.decoder(
                s,
                tensors,
                i ->
                        Llama.layer(
                                s,
                                i,
                                s.attention(
                                        Llama.prefix(i) + "self_attn.",
                                        rope,
                                        0,
                                        biased,
                                        outputBiased),
                                s.mlp(Llama.prefix(i) + "mlp.", "hidden_act", "silu", mlpBiased)));
    }
}
