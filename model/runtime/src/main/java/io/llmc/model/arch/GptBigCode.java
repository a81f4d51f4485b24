// SPDX-License-Identifier: Apache-2.0
package io.llmc.model.arch;

import io.llmc.formats.HfConfig;
import io.llmc.model.Architecture;
import io.llmc.model.ModelSpec;
import io.llmc.model.SelfAttentionSpec.Heads;
import io.llmc.model.SelfAttentionSpec.RowOrder;
import io.llmc.model.structure.Size;
import java.util.List;
import java.util.Optional;
import java.util.Set;

/// StarCoder and SantaCoder: GPT-2 with one key for all heads and weights stored as others store
/// them.
final class GptBigCode implements Architecture {
    @Override
    public List<String> modelTypes() {
        return List.of("gpt_bigcode");
    }

    @Override
    public String embedding() {
        return Early.ROOT + "wte";
    }

    @Override
    public ModelSpec spec(HfConfig c, Set<String> tensors) {
        Early e = Early.of(c, "n_embd", "n_layer", "n_head", "n_inner");
        boolean one = c.flag("multi_query", true);
        Heads heads = e.attention(one ? 1 : e.heads());
        // With a key for each head its rows lie by head.
        RowOrder rows = one ? RowOrder.BY_PROJECTION : RowOrder.BY_KV_HEAD;
        double scale = c.flag("scale_attn_weights", true) ? 1 / Math.sqrt(heads.dim()) : 1;
        return Gpt2.model(
                e,
                tensors,
                i -> Gpt2.attention(i, rows, heads, (float) scale),
                "gelu_pytorch_tanh");
    }

    /// Causal masks, which old checkpoints have.
    @Override
    public boolean isBuffer(String tensor) {
        return Early.isMask(tensor);
    }

    @Override
    public String key(Size size) {
        return Early.key(size, "n_embd", "n_layer", "n_head", "n_inner");
    }

    @Override
    public Optional<String> fixed(Size size, HfConfig c) {
        return Early.fixed(size);
    }
}
