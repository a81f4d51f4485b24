// SPDX-License-Identifier: Apache-2.0
package io.llmc.model;

import io.llmc.backend.ForwardOp.Activation;
import java.util.ArrayList;
import java.util.List;

/// One decoder block as data: sizes, names in the checkpoint, flags. Per layer, since pruning and
/// local attention make layers differ.
///
/// @param attentionNorm before attention
/// @param attentionPostNorm after attention, before its result is added; null for none
/// @param feedForwardNorm before the feed-forward
/// @param feedForwardPostNorm after it, before its result is added; null for none
public record LayerSpec(
        String prefix,
        NormSpec attentionNorm,
        AttentionLayer attention,
        NormSpec attentionPostNorm,
        NormSpec feedForwardNorm,
        FeedForward feedForward,
        NormSpec feedForwardPostNorm) {

    /// A linear layer as data.
    ///
    /// @param bias whether it has one, `[out]`
    public record LinearSpec(String name, long out, long in, boolean bias) {}

    /// The linear layers that may be compressed, in the order in which they run.
    ///
    /// @param hidden width of the residual stream
    public List<LinearSpec> linears(int hidden) {
        List<LinearSpec> all = new ArrayList<>(attention.projections(hidden));
        all.add(attention.output(hidden));
        switch (feedForward) {
            case Mlp mlp -> {
                all.addAll(mlp.inputs(hidden));
                all.add(mlp.down(hidden));
            }
            case Experts e -> {
                e.experts().forEach(expert -> all.addAll(expert.inputs(hidden)));
                e.experts().forEach(expert -> all.add(expert.down(hidden)));
            }
        }
        return all;
    }

    /// Causal self-attention.
    ///
    /// @param projections names of q, k and v, or of one layer that holds their rows in that order
    /// @param output name of the output projection
    /// @param biased whether the projections have biases; `outputBiased` says it of the output
    /// @param window keys that a position sees; 0 for all
    /// @param softcap 0 for none
    /// @param rope null for none
    /// @param queryNorm over each head before the rotation; null for none; `keyNorm` too
    public record AttentionLayer(
            List<String> projections,
            String output,
            boolean biased,
            boolean outputBiased,
            int heads,
            int kvHeads,
            int headDim,
            float scale,
            int window,
            float softcap,
            RopeSpec rope,
            NormSpec queryNorm,
            NormSpec keyNorm) {
        public AttentionLayer {
            boolean fits =
                    headDim > 0
                            && kvHeads > 0
                            && heads > 0
                            && heads % kvHeads == 0
                            && (long) heads * headDim <= Integer.MAX_VALUE / 3
                            && Float.isFinite(scale)
                            && window >= 0
                            && softcap >= 0
                            && (rope == null || rope.rotated() <= headDim);
            if (!fits) {
                throw new IllegalArgumentException("no attention of these sizes: " + output);
            }
        }

        public AttentionLayer withProjections(List<String> names) {
            return new AttentionLayer(
                    names,
                    output,
                    biased,
                    outputBiased,
                    heads,
                    kvHeads,
                    headDim,
                    scale,
                    window,
                    softcap,
                    rope,
                    queryNorm,
                    keyNorm);
        }

        public AttentionLayer withBiases(boolean projectionsToo, boolean outputToo) {
            return new AttentionLayer(
                    projections,
                    output,
                    projectionsToo,
                    outputToo,
                    heads,
                    kvHeads,
                    headDim,
                    scale,
                    window,
                    softcap,
                    rope,
                    queryNorm,
                    keyNorm);
        }

        /// q, k and v, or the one layer that holds them.
        List<LinearSpec> projections(int hidden) {
            if (projections.size() == 1) {
                long rows = queryWidth() + 2L * keyWidth();
                return List.of(new LinearSpec(projections.getFirst(), rows, hidden, biased));
            }
            return List.of(
                    new LinearSpec(projections.get(0), queryWidth(), hidden, biased),
                    new LinearSpec(projections.get(1), keyWidth(), hidden, biased),
                    new LinearSpec(projections.get(2), keyWidth(), hidden, biased));
        }

        LinearSpec output(int hidden) {
            return new LinearSpec(output, hidden, queryWidth(), outputBiased);
        }

        public int queryWidth() {
            return heads * headDim;
        }

        public int keyWidth() {
            return kvHeads * headDim;
        }
    }

    /// What follows attention in a block.
    public sealed interface FeedForward {}

    /// `down(activation(gate(x)) * up(x))`, or `down(activation(up(x)))` where nothing gates.
    ///
    /// @param inputs names of gate and up; of one layer that holds their rows in that order; or,
    ///   without a gate, of up alone
    /// @param biased whether all of them have biases
    /// @param intermediate channels between
    public record Mlp(
            List<String> inputs,
            String down,
            boolean biased,
            int intermediate,
            Activation activation,
            boolean gated)
            implements FeedForward {
        public Mlp {
            if (intermediate <= 0 || intermediate > Integer.MAX_VALUE / 2) {
                throw new IllegalArgumentException("no feed-forward of this size: " + down);
            }
        }

        /// Gate and up, the one layer that holds both, or up alone.
        List<LinearSpec> inputs(int hidden) {
            long rows = gated && inputs.size() == 1 ? 2L * intermediate : intermediate;
            return inputs.stream().map(name -> new LinearSpec(name, rows, hidden, biased)).toList();
        }

        LinearSpec down(int hidden) {
            return new LinearSpec(down, hidden, intermediate, biased);
        }
    }

    /// Each token goes to its `topK` best experts and gets their weighted sum.
    ///
    /// @param router name of the linear layer that scores experts; never compressed
    /// @param experts each a gated MLP with separate gate and up
    /// @param renormalise the chosen experts' weights sum to 1
    public record Experts(String router, List<Mlp> experts, int topK, boolean renormalise)
            implements FeedForward {
        public Experts {
            if (topK < 1 || topK > experts.size()) {
                throw new IllegalArgumentException(
                        "the best %d of %d experts".formatted(topK, experts.size()));
            }
        }

        LinearSpec router(int hidden) {
            return new LinearSpec(router, experts.size(), hidden, false);
        }
    }
}
