// SPDX-License-Identifier: Apache-2.0
package io.llmc.model.arch;

import com.fasterxml.jackson.databind.node.BooleanNode;
import io.llmc.backend.ForwardOp.Activation;
import io.llmc.formats.HfConfig;
import io.llmc.formats.Range;
import io.llmc.model.Architecture;
import io.llmc.model.MlpSpec;
import io.llmc.model.ModelSpec;
import io.llmc.model.structure.Size;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;

/// LFM2 with a feed-forward in each block.
final class Lfm2 implements Architecture {
    private static final String ADJUSTED = "block_auto_adjust_ff_dim";
    private static final Range FACTOR = Range.above(0, 1000);

    @Override
    public List<String> modelTypes() {
        return List.of("lfm2");
    }

    @Override
    public ModelSpec spec(HfConfig c, Set<String> tensors) {
        Sizes s = Lfm2Blocks.sizes(c, intermediate(c));
        return Lfm2Blocks.decoder(
                s,
                tensors,
                i -> {
                    String f = Llama.prefix(i) + "feed_forward.";
                    return new MlpSpec(
                            List.of(f + "w1", f + "w3"),
                            f + "w2",
                            false,
                            s.intermediate(),
                            Activation.SILU,
                            true);
                });
    }

    /// Two thirds of what the config says, in whole multiples of something, unless it says not to.
    private static int intermediate(HfConfig c) {
        String key = c.has("block_ff_dim") ? "block_ff_dim" : "intermediate_size";
        int size = c.integer(key, Sizes.CHANNELS, 12_288);
        if (!c.flag(ADJUSTED, true)) {
            return size;
        }
        int multiple = c.integer("block_multiple_of", Sizes.CHANNELS, 256);
        int wanted = (int) (c.decimal("block_ffn_dim_multiplier", FACTOR, 1) * (2 * size / 3));
        return multiple * Math.max(1, Math.ceilDiv(wanted, multiple));
    }

    @Override
    public HfConfig untied(HfConfig config) {
        return Architecture.super.untied(config).with("tie_embedding", BooleanNode.FALSE);
    }

    @Override
    public Optional<String> fixed(Size size, HfConfig config) {
        return size == Size.HIDDEN
                ? Optional.of("its convolutions have as many channels as the stream")
                : Optional.empty();
    }

    @Override
    public HfConfig resized(HfConfig config, ModelSpec spec, Map<Size, Integer> sizes) {
        HfConfig changed = Architecture.super.resized(config, spec, sizes);
        Integer inside = sizes.get(Size.INTERMEDIATE);
        return inside == null
                ? changed
                : changed.with("block_ff_dim", inside).with(ADJUSTED, BooleanNode.FALSE);
    }
}
