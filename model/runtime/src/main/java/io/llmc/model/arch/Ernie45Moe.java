// SPDX-License-Identifier: Apache-2.0
package io.llmc.model.arch;

import io.llmc.backend.RouterSpec;
import io.llmc.formats.HfConfig;
import io.llmc.formats.Range;
import io.llmc.formats.RopeConfig;
import io.llmc.model.Architecture;
import io.llmc.model.BodySpec;
import io.llmc.model.ExpertsSpec.Router;
import io.llmc.model.LayerSpec;
import io.llmc.model.ModelSpec;
import io.llmc.model.structure.RopeSpec;
import io.llmc.model.structure.Size;
import java.util.List;
import java.util.Set;
import java.util.function.IntPredicate;

/// ERNIE 4.5 with experts: neighbours turn together, and a bias corrects the choice.
final class Ernie45Moe implements Architecture {
    @Override
    public List<String> modelTypes() {
        return List.of("ernie4_5_moe");
    }

    private static final Range COUNT = Range.zeroTo(10_000);

    private static final Sizes.Defaults ABSENT =
            new Sizes.Defaults(4, 0, 1e-5, RopeConfig.Defaults.of(500_000, 131_072));

    @Override
    public ModelSpec spec(HfConfig c, Set<String> tensors) {
        Sizes s = Sizes.of(c, ABSENT);
        RopeSpec rope = s.rope().inPairs();
        boolean biased = c.flag("use_bias", false);
        Mixture mixture = Mixture.of(s, 64, 6);
        IntPredicate sparse = sparse(s);
        return Llama.decoder(
                s,
                tensors,
                i -> {
                    String p = Llama.prefix(i);
                    BodySpec attention = s.attention(p + "self_attn.", rope, 0, biased);
                    return sparse.test(i)
                            ? experts(mixture, i, attention, tensors)
                            : Llama.layer(
                                    s,
                                    i,
                                    attention,
                                    s.mlp(p + "mlp.", "hidden_act", "silu", biased));
                });
    }

    private static IntPredicate sparse(Sizes s) {
        HfConfig c = s.config();
        int first = c.integer("moe_layer_start_index", COUNT, 1);
        int interval = c.integer("moe_layer_interval", Range.upTo(10_000), 1);
        int last = c.integer("moe_layer_end_index", new Range(-1, 10_000, false), -1);
        int end = last < 0 ? s.layers() - 1 : last;
        return i -> (i + 1) % interval == 0 && i >= first && i <= end;
    }

    private static LayerSpec experts(
            Mixture mixture, int i, BodySpec attention, Set<String> tensors) {
        String p = Llama.prefix(i) + "mlp.";
        int shared = mixture.sizes().config().integer("moe_num_shared_experts", COUNT, 2);
        return mixture.requireTensors(p + "experts.", tensors)
                .layer(
                        i,
                        attention,
                        Router.of(p + "gate", RouterSpec.softmax(true))
                                .correctedByRow(p + "moe_statics.e_score_correction_bias"),
                        p + "experts.",
                        p + "shared_experts.",
                        shared);
    }

    @Override
    public String key(Size size) {
        return size == Size.EXPERTS ? "moe_num_experts" : Architecture.super.key(size);
    }
}
