// SPDX-License-Identifier: Apache-2.0
package io.llmc.model.arch;

import io.llmc.backend.RouterSpec;
import io.llmc.backend.RouterSpec.Scores;
import io.llmc.formats.HfConfig;
import io.llmc.formats.Range;
import io.llmc.model.Architecture;
import io.llmc.model.BodySpec;
import io.llmc.model.ExpertsSpec.Router;
import io.llmc.model.ModelSpec;
import io.llmc.model.structure.Size;
import java.util.List;
import java.util.Optional;
import java.util.Set;

/// LFM2 with experts behind the first blocks.
final class Lfm2Moe implements Architecture {
    private static final Architecture FAMILY = new Lfm2();

    @Override
    public List<String> modelTypes() {
        return List.of("lfm2_moe");
    }

    @Override
    public ModelSpec spec(HfConfig c, Set<String> tensors) {
        Sizes s = Lfm2Blocks.sizes(c, c.integer("intermediate_size", Sizes.CHANNELS));
        int dense = c.integer("num_dense_layers", Range.zeroTo(10_000), 2);
        Mixture mixture = Mixture.of(s, 32, 4);
        return Lfm2Blocks.decoder(
                s,
                tensors,
                i -> {
                    String f = Llama.prefix(i) + "feed_forward.";
                    return i < dense
                            ? mixture.mlp(f, Mixture.Names.NUMBERED)
                                    .of(Size.INTERMEDIATE, s.intermediate())
                            : experts(mixture.requireTensors(f + "experts.", tensors), f);
                });
    }

    private static BodySpec experts(Mixture mixture, String f) {
        HfConfig c = mixture.sizes().config();
        RouterSpec choice =
                RouterSpec.of(Scores.SIGMOID, c.flag("norm_topk_prob", true))
                        .times((float) c.decimal("routed_scaling_factor", 1));
        Router router = Router.of(f + "gate", choice);
        boolean corrected = c.flag("use_expert_bias", true);
        return mixture.body(
                corrected ? router.correctedBy(f + "expert_bias") : router,
                f + "experts.",
                Mixture.Names.NUMBERED);
    }

    @Override
    public String key(Size size) {
        return size == Size.EXPERTS ? "num_experts" : Architecture.super.key(size);
    }

    @Override
    public HfConfig untied(HfConfig config) {
        return FAMILY.untied(config);
    }

    @Override
    public Optional<String> fixed(Size size, HfConfig config) {
        return FAMILY.fixed(size, config);
    }
}
