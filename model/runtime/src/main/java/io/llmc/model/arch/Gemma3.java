// SPDX-License-Identifier: Apache-2.0
package io.llmc.model.arch;

import io.llmc.formats.HfConfig;
import io.llmc.formats.Range;
import io.llmc.formats.RopeConfig;
import io.llmc.model.Architecture;
import io.llmc.model.LayerSpec;
import io.llmc.model.ModelSpec;
import io.llmc.model.structure.NormSpec;
import io.llmc.model.structure.RopeSpec;
import java.util.List;
import java.util.Set;
import java.util.stream.IntStream;

/// Gemma 3 (text): norm weights stored minus one, four norms a block, norms over the heads of q and
/// k, local layers with a window and a rope base of their own, embeddings times sqrt(hidden).
final class Gemma3 implements Architecture {
    private static final Sizes.Defaults ABSENT =
            new Sizes.Defaults(
                    4, 256, 1e-6, new RopeConfig.Defaults(1_000_000, 10_000, 131_072, 0));

    @Override
    public List<String> modelTypes() {
        return List.of("gemma3_text");
    }

    @Override
    public ModelSpec spec(HfConfig c, Set<String> tensors) {
        Sizes s = Sizes.of(c, ABSENT);
        if (c.has("use_bidirectional_attention") && c.flag("use_bidirectional_attention", false)) {
            throw c.wrong(
                    "use_bidirectional_attention", "false: llmc reads models that look back only");
        }
        RopeSpec local = s.rope(Sizes.LOCAL);
        RopeSpec global = s.rope(Sizes.GLOBAL);
        cap(c, "attn_logit_softcapping"); // no reader applies it to this family
        int window = s.window(4096);
        List<Boolean> slides = slides(s);
        if (slides.contains(true) && window == 0) {
            throw c.wrong("sliding_window", "the window of the layers that have one");
        }
        return s.model(
                s.stack(
                        tensors,
                        i -> slides.get(i) ? layer(s, i, local, window) : layer(s, i, global, 0)),
                Llama.input(s).times(Math.sqrt(s.hidden())),
                Llama.output(s, norm(s, "model.norm"), true)
                        .cappedAt(cap(c, "final_logit_softcapping")));
    }

    /// 0 for none.
    static float cap(HfConfig c, String key) {
        return c.has(key) ? (float) c.decimal(key, Sizes.CAP, 0) : 0;
    }

    private static LayerSpec layer(Sizes s, int i, RopeSpec rope, int window) {
        String p = Llama.prefix(i);
        HfConfig c = s.config();
        double scalar = c.decimal("query_pre_attn_scalar", Range.above(0, 1e9), 256);
        float scale = (float) (1 / Math.sqrt(scalar));
        return Llama.between(
                p,
                s.attentionWithHeadNorms(p + "self_attn.", rope, window, scale, 1),
                s.mlp(p + "mlp.", "hidden_activation", "gelu_pytorch_tanh", false),
                norm -> norm.offsetBy(1),
                s);
    }

    /// Whether each layer has a window.
    private static List<Boolean> slides(Sizes s) {
        List<String> types = s.layerTypes();
        int pattern = s.config().integer("sliding_window_pattern", Sizes.LAYERS, 6);
        return IntStream.range(0, s.layers())
                .mapToObj(i ->
                        types.isEmpty() ? (i + 1) % pattern != 0 : types.get(i).equals(Sizes.LOCAL))
                .toList();
    }

    private static NormSpec norm(Sizes s, String name) {
        return s.norm(name).offsetBy(1);
    }
}
