// SPDX-License-Identifier: Apache-2.0
package io.llmc.model.arch;

import io.llmc.backend.ForwardOp;
import io.llmc.formats.HfConfig;
import io.llmc.formats.Range;
import io.llmc.formats.RopeConfig;
import io.llmc.model.AltUpSpec;
import io.llmc.model.Architecture;
import io.llmc.model.BodySpec;
import io.llmc.model.BorrowingAttentionSpec;
import io.llmc.model.BranchSpec;
import io.llmc.model.LaurelSpec;
import io.llmc.model.LayerInputSpec;
import io.llmc.model.LayerSpec;
import io.llmc.model.ModelSpec;
import io.llmc.model.Nonlinearity;
import io.llmc.model.SelfAttentionSpec;
import io.llmc.model.SelfAttentionSpec.HeadNorms;
import io.llmc.model.SelfAttentionSpec.Heads;
import io.llmc.model.SelfAttentionSpec.Projections;
import io.llmc.model.SelfAttentionSpec.Scores;
import io.llmc.model.structure.NormSpec;
import io.llmc.model.structure.RopeSpec;
import io.llmc.model.structure.RowSpec;
import io.llmc.model.structure.Size;
import java.util.List;
import java.util.Optional;
import java.util.Set;
import java.util.stream.IntStream;

/// Gemma 3n (text): several streams of which blocks compute one, a learned residual beside
/// attention, what blocks read of the token itself, gates of which only the largest are left, and
/// last blocks that borrow keys and values.
final class Gemma3n implements Architecture {
    private static final Sizes.Defaults ABSENT =
            new Sizes.Defaults(2, 256, 1e-6, new RopeConfig.Defaults(1_000_000, 10_000, 32_768, 0));
    private static final String EMBEDDING = "model.embed_tokens";
    private static final String SHARED = "num_kv_shared_layers";
    private static final String CHANNELS = "intermediate_size";

    @Override
    public List<String> modelTypes() {
        return List.of("gemma3n_text");
    }

    @Override
    public ModelSpec spec(HfConfig c, Set<String> tensors) {
        Model m = Model.of(c);
        Sizes s = m.sizes;
        return s.model(
                        s.stack(tensors, m::layer),
                        ModelSpec.Input.of(EMBEDDING, s.vocabulary(), s.hidden())
                                .times(Math.sqrt(s.hidden())),
                        ModelSpec.Output.of(
                                        s.norm("model.norm"),
                                        Sizes.head(c, true, EMBEDDING, "lm_head"))
                                .cappedAt(Gemma3.cap(c, "final_logit_softcapping")))
                .with(m.rows());
    }

    /// @param types of layers
    /// @param lending layers before the first that borrows
    /// @param channels of each feed-forward
    /// @param sparsity the part of each gate that is left out
    private record Model(
            Sizes sizes,
            List<String> types,
            int lending,
            List<Integer> channels,
            List<Double> sparsity,
            int streams,
            RowSpec.LayerInputs inputs) {
        /// Where left out, 15, as in transformers: too many for a small model.
        private static int borrowing(HfConfig c, int layers) {
            if (!c.mentions(SHARED) && layers <= 15) {
                throw c.wrong(SHARED, "a whole number from 0 to %d".formatted(layers - 1));
            }
            return c.integer(SHARED, Range.zeroTo(layers - 1), 15);
        }

        static Model of(HfConfig c) {
            List<Integer> channels = c.integers(CHANNELS);
            int heads = c.integer("num_attention_heads", Sizes.HEADS);
            int layers = c.integer("num_hidden_layers", Sizes.LAYERS);
            if (channels.size() != layers || channels.stream().anyMatch(n -> n < 1)) {
                throw c.wrong(CHANNELS, "%d numbers, one for each layer".formatted(layers));
            }
            Sizes s =
                    new Sizes(
                            c,
                            c.integer("hidden_size", Sizes.CHANNELS),
                            c.integer("vocab_size", Sizes.VOCABULARY),
                            layers,
                            heads,
                            c.integer("num_key_value_heads", Sizes.HEADS, ABSENT.kvHeads()),
                            c.integer("head_dim", Sizes.HEAD_DIM, ABSENT.headDim()),
                            channels.getFirst(),
                            c.decimal("rms_norm_eps", Sizes.EPS, ABSENT.eps()),
                            ABSENT);
            List<String> types = s.layerTypes();
            if (types.isEmpty()) {
                throw c.wrong("layer_types", "a type for each layer");
            }
            int streams = c.integer("altup_num_inputs", new Range(2, 64, true), 4);
            return new Model(
                    s,
                    types,
                    layers - borrowing(c, layers),
                    channels,
                    sparsity(c, layers),
                    streams,
                    inputs(s, streams));
        }

        private static List<Double> sparsity(HfConfig c, int layers) {
            String key = "activation_sparsity_pattern";
            List<Double> all =
                    c.json().path(key).isArray()
                            ? c.json().path(key).valueStream().map(n -> n.asDouble()).toList()
                            : IntStream.range(0, layers).mapToObj(_ -> 0.0).toList();
            if (all.size() != layers || all.stream().anyMatch(p -> !(p >= 0 && p < 1))) {
                throw c.wrong(key, "%d numbers from 0 to 1, one for each layer".formatted(layers));
            }
            return all;
        }

        private static RowSpec.LayerInputs inputs(Sizes s, int streams) {
            HfConfig c = s.config();
            return new RowSpec.LayerInputs(
                    "model.embed_tokens_per_layer",
                    c.integer("vocab_size_per_layer_input", Sizes.VOCABULARY, 262_144),
                    "model.per_layer_model_projection",
                    s.norm("model.per_layer_projection_norm"),
                    s.layers(),
                    c.integer("hidden_size_per_layer_input", Sizes.CHANNELS, 256),
                    (1 + streams) * s.hidden());
        }

        private Heads heads() {
            return new Heads(sizes.heads(), sizes.kvHeads(), sizes.headDim());
        }

        /// Channels of the keys and values of a layer.
        private int lent() {
            return 2 * sizes.kvHeads() * sizes.headDim();
        }

        /// The layer that layers of a type borrow from; -1 where none does.
        private int lender(String type) {
            return types.subList(lending, types.size()).contains(type)
                    ? types.subList(0, lending).lastIndexOf(type)
                    : -1;
        }

        /// Where the lender of a type leaves keys and values.
        private int column(String type) {
            int first = inputs.of(sizes.layers());
            return type.equals(Sizes.GLOBAL) ? first : first + lent();
        }

        RowSpec rows() {
            List<String> in = names("model.altup_projections.");
            List<String> out = names("model.altup_unembed_projections.");
            int beside = inputs.all() + 2 * lent();
            return new RowSpec(1 + streams, beside, inputs, new RowSpec.Ends.Projected(in, out), 0);
        }

        private List<String> names(String prefix) {
            return IntStream.range(0, streams - 1).mapToObj(i -> prefix + i).toList();
        }

        LayerSpec layer(int i) {
            String p = Llama.prefix(i);
            NormSpec before = sizes.norm(p + "input_layernorm");
            double half = Math.sqrt(0.5);
            List<BranchSpec> branches =
                    List.of(
                            BranchSpec.of(
                                            before,
                                            attention(i),
                                            sizes.norm(p + "post_attention_layernorm"))
                                    .times((float) half)
                                    .carrying(half),
                            BranchSpec.of(before, laurel(p)).times((float) half).beside(),
                            BranchSpec.of(
                                    sizes.norm(p + "pre_feedforward_layernorm"),
                                    mlp(i),
                                    sizes.norm(p + "post_feedforward_layernorm")),
                            BranchSpec.of(
                                            null,
                                            new LayerInputSpec(
                                                    p + "per_layer_input_gate",
                                                    p + "per_layer_projection",
                                                    activation(),
                                                    inputs.width(),
                                                    inputs.of(i)),
                                            sizes.norm(p + "post_per_layer_input_norm"))
                                    .carrying(0));
            return new LayerSpec(
                    p,
                    branches,
                    new AltUpSpec(
                            p + "altup.",
                            streams,
                            sizes.hidden(),
                            sizes.norm(p + "altup.router_norm"),
                            sizes.config().flag("altup_correct_scale", true)));
        }

        private BodySpec laurel(String p) {
            return new LaurelSpec(
                    p + "laurel.linear_left",
                    p + "laurel.linear_right",
                    sizes.config().integer("laurel_rank", Sizes.CHANNELS, 64),
                    sizes.norm(p + "laurel.post_laurel_norm"),
                    sizes.hidden());
        }

        private ForwardOp.Activation activation() {
            return Sizes.activation(sizes.config(), "hidden_activation", "gelu_pytorch_tanh");
        }

        private BodySpec mlp(int i) {
            var mlp =
                    sizes.mlp(
                                    Llama.prefix(i) + "mlp.",
                                    "hidden_activation",
                                    "gelu_pytorch_tanh",
                                    false)
                            .of(Size.INTERMEDIATE, channels.get(i));
            double part = sparsity.get(i);
            return part == 0
                    ? mlp
                    : mlp.with(new Nonlinearity.Sparse(activation(), (float) quantile(part)));
        }

        private BodySpec attention(int i) {
            String p = Llama.prefix(i) + "self_attn.";
            String type = types.get(i);
            RopeConfig config = sizes.config().rope(type, sizes.absent().rope());
            RopeSpec rope = new RopeSpec(config, sizes.headDim(), false);
            boolean global = type.equals(Sizes.GLOBAL);
            Scores scores = new Scores(1, global ? 0 : sizes.window(512), 0);
            boolean biased = sizes.config().flag("attention_bias", false);
            NormSpec queries = sizes.norm(p + "q_norm");
            int from = lender(type);
            if (i >= lending) {
                if (from < 0) {
                    throw sizes.config()
                            .wrong(SHARED, "fewer: layer %d has none to borrow from".formatted(i));
                }
                return new BorrowingAttentionSpec(
                        p + "q_proj",
                        p + "o_proj",
                        biased,
                        heads(),
                        scores,
                        rope,
                        queries,
                        Llama.prefix(from) + "self_attn",
                        column(type));
            }
            return new SelfAttentionSpec(
                            Projections.apart(p + "q_proj", p + "k_proj", p + "v_proj", biased),
                            p + "o_proj",
                            biased,
                            heads(),
                            scores,
                            rope)
                    .with(
                            HeadNorms.of(queries, sizes.norm(p + "k_norm"))
                                    .withValues(sizes.norm(p + "v_norm").plain()))
                    .lending(i == from ? column(type) : 0);
        }
    }

    /// The number of standard deviations below which a part of a normal distribution lies.
    private static double quantile(double part) {
        double low = -8;
        double high = 8;
        for (int i = 0; i < 80; i++) {
            double middle = (low + high) / 2;
            if (below(middle) < part) {
                low = middle;
            } else {
                high = middle;
            }
        }
        return low;
    }

    /// The part of a normal distribution below x.
    private static double below(double x) {
        double sum = 0;
        double term = x;
        for (int k = 1; sum + term != sum; k++) {
            sum += term;
            term *= x * x / (2 * k + 1);
        }
        return 0.5 + sum * Math.exp(-x * x / 2) / Math.sqrt(2 * Math.PI);
    }

    /// Blocks that borrow keys and values have layers for them all the same, which nobody runs.
    @Override
    public boolean travels(String tensor, HfConfig config) {
        return Sizes.borrows(tensor, config, SHARED) || Architecture.super.travels(tensor, config);
    }

    @Override
    public Optional<String> fixed(Size size, HfConfig c) {
        return switch (size) {
            case LAYERS, HIDDEN -> Optional.of("one embedding has channels for each of its layers");
            case HEADS, KV_HEADS -> Optional.of("its last layers borrow keys and values");
            case INTERMEDIATE -> Optional.of("each of its layers has a size of its own");
            default -> Optional.empty();
        };
    }
}
