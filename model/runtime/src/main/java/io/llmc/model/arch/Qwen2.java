// SPDX-License-Identifier: Apache-2.0
package io.llmc.model.arch;

import io.llmc.formats.HfConfig;
import io.llmc.formats.Range;
import io.llmc.formats.RopeConfig;
import io.llmc.model.Architecture;
import io.llmc.model.ModelSpec;
import io.llmc.model.structure.RopeSpec;
import java.util.List;
import java.util.Set;
import java.util.stream.IntStream;

/// Qwen 2 and 2.5: Llama with biases on q, k and v; where `use_sliding_window` is set, the layers
/// from `max_window_layers` on see a window only.
final class Qwen2 implements Architecture {
    @Override
    public List<String> modelTypes() {
        return List.of("qwen2", "qwen2_vl", "qwen2_vl_text", "qwen2_5_vl", "qwen2_5_vl_text");
    }

    private static final Sizes.Defaults ABSENT =
            new Sizes.Defaults(32, 0, 1e-6, RopeConfig.Defaults.of(10_000, 32_768));

    private static final Sizes.Defaults SEEING =
            new Sizes.Defaults(8, 0, 1e-5, RopeConfig.Defaults.of(1_000_000, 32_768));

    @Override
    public ModelSpec spec(HfConfig c, Set<String> tensors) {
        Sizes s = Sizes.of(c, c.modelType().contains("_vl") ? SEEING : ABSENT);
        RopeSpec rope = s.rope();
        List<Integer> windows = windows(s);
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
                                        windows.get(i),
                                        true,
                                        false)));
    }

    /// Keys that each layer sees; 0 for all.
    static List<Integer> windows(Sizes s) {
        HfConfig c = s.config();
        int window = s.window(4096);
        int used = c.flag("use_sliding_window", false) ? window : 0;
        int first = c.integer("max_window_layers", Range.zeroTo(10_000), 28);
        List<String> types = s.layerTypes();
        if (used == 0 && types.contains(Sizes.LOCAL)) {
            throw c.wrong(
                    c.flag("use_sliding_window", false) ? "sliding_window" : "use_sliding_window",
                    "a window, since layer_types names layers with one");
        }
        return IntStream.range(0, s.layers())
                .mapToObj(i ->
                        (types.isEmpty() ? i >= first : types.get(i).equals(Sizes.LOCAL))
                                ? used
                                : 0)
                .toList();
    }
}
