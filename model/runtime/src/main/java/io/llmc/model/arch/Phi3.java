// SPDX-License-Identifier: Apache-2.0
package io.llmc.model.arch;

import io.llmc.formats.HfConfig;
import io.llmc.formats.RopeConfig;
import io.llmc.formats.RopeScaling;
import io.llmc.model.Architecture;
import io.llmc.model.LayerSpec;
import io.llmc.model.MlpSpec;
import io.llmc.model.ModelSpec;
import io.llmc.model.SelfAttentionSpec;
import io.llmc.model.SelfAttentionSpec.RowOrder;
import io.llmc.model.structure.RopeSpec;
import java.util.List;
import java.util.Set;

/// Phi 3, 3.5 and Phi-4-mini: Llama with q, k, v in one layer and gate, up in another.
final class Phi3 implements Architecture {
    @Override
    public List<String> modelTypes() {
        return List.of("phi3");
    }

    private static final Sizes.Defaults ABSENT =
            new Sizes.Defaults(0, 0, 1e-5, new RopeConfig.Defaults(10_000, 0, 4096, 4096));

    @Override
    public ModelSpec spec(HfConfig c, Set<String> tensors) {
        Sizes s = Sizes.of(c, ABSENT);
        RopeConfig turns = c.rope(ABSENT.rope());
        switch (turns.scaling()) {
            case RopeScaling.None _, RopeScaling.LongRope _ -> {}
            case RopeScaling.Linear _,
                    RopeScaling.Dynamic _,
                    RopeScaling.Llama3 _,
                    RopeScaling.Yarn _,
                    RopeScaling.Proportional _ ->
                    throw c.wrong(
                            c.has("rope_scaling") ? "rope_scaling" : "rope_parameters",
                            "the type default or longrope of a phi3");
        }
        RopeSpec rope = s.partialRope(turns);
        return Llama.decoder(s, tensors, i -> layer(s, i, rope));
    }

    private static LayerSpec layer(Sizes s, int i, RopeSpec rope) {
        String p = Llama.prefix(i);
        SelfAttentionSpec plain = s.attention(p + "self_attn.", rope, s.window(0), false);
        MlpSpec mlp = s.mlp(p + "mlp.", "hidden_act", "silu", false);
        return Llama.layer(
                s,
                i,
                plain.with(
                        SelfAttentionSpec.Projections.fused(
                                p + "self_attn.qkv_proj", RowOrder.BY_PROJECTION, false)),
                mlp.fusedAs(p + "mlp.gate_up_proj"));
    }
}
