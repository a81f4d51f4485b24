// SPDX-License-Identifier: Apache-2.0
package io.llmc.model.arch;

import io.llmc.backend.ForwardOp;
import io.llmc.backend.RouterSpec;
import io.llmc.formats.HfConfig;
import io.llmc.formats.Range;
import io.llmc.formats.RopeConfig;
import io.llmc.model.Architecture;
import io.llmc.model.BodySpec;
import io.llmc.model.BorrowingAttentionSpec;
import io.llmc.model.BranchSpec;
import io.llmc.model.ExpertsSpec.Router;
import io.llmc.model.LayerInputSpec;
import io.llmc.model.LayerSpec;
import io.llmc.model.MlpSpec;
import io.llmc.model.ModelSpec;
import io.llmc.model.Nonlinearity;
import io.llmc.model.SelfAttentionSpec;
import io.llmc.model.SelfAttentionSpec.HeadNorms;
import io.llmc.model.SelfAttentionSpec.Heads;
import io.llmc.model.SelfAttentionSpec.Projections;
import io.llmc.model.SelfAttentionSpec.Scores;
import io.llmc.model.SumSpec;
import io.llmc.model.structure.RopeSpec;
import io.llmc.model.structure.RowSpec;
import io.llmc.model.structure.Size;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.Set;

/// Gemma 4 (text): norms before and after, over the heads of q, k and v, a number at the end of
/// each block, global layers with larger heads whose values may be their keys. The small ones read
/// the token itself in each block, and the last blocks have no keys and values of their own.
final class Gemma4 implements Architecture {
    private static final Sizes.Defaults ABSENT =
            new Sizes.Defaults(
                    4, 256, 1e-6, new RopeConfig.Defaults(1_000_000, 10_000, 131_072, 0));
    private static final String EMBEDDING = "model.embed_tokens";
    private static final String SHARED = "num_kv_shared_layers";

    @Override
    public List<String> modelTypes() {
        return List.of("gemma4_text");
    }

    @Override
    public ModelSpec spec(HfConfig c, Set<String> tensors) {
        Model m = Model.of(Sizes.of(c, ABSENT));
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
    /// @param inputWidth channels that a block reads of the token itself; 0 for none
    /// @param columns where layers leave keys and values, by layer; 0 for nowhere
    private record Model(
            Sizes sizes, List<String> types, int lending, int inputWidth, List<Integer> columns) {
        static Model of(Sizes s) {
            HfConfig c = s.config();
            List<String> types = s.layerTypes();
            if (types.isEmpty()) {
                throw c.wrong("layer_types", "a type for each layer");
            }
            int lending = s.layers() - c.integer(SHARED, Range.zeroTo(s.layers() - 1), 0);
            int width = c.integer("hidden_size_per_layer_input", Range.zeroTo(1 << 20), 0);
            Model m = new Model(s, types, lending, width, new ArrayList<>());
            int column = s.hidden() + s.layers() * width;
            for (int i = 0; i < s.layers(); i++) {
                boolean lends = i == m.lender(Sizes.LOCAL) || i == m.lender(Sizes.GLOBAL);
                m.columns.add(lends ? column : 0);
                Heads heads = m.heads(i);
                column += lends ? heads.keys() * (heads.dim() + heads.valueDim()) : 0;
            }
            return m;
        }

        /// The layer that layers of a type borrow from; -1 where none does.
        private int lender(String type) {
            return types.subList(lending, types.size()).contains(type)
                    ? types.subList(0, lending).lastIndexOf(type)
                    : -1;
        }

        private boolean global(int i) {
            return types.get(i).equals(Sizes.GLOBAL);
        }

        private boolean valuesAreKeys(int i) {
            return global(i) && sizes.config().flag("attention_k_eq_v", false);
        }

        private Heads heads(int i) {
            HfConfig c = sizes.config();
            int dim = sizes.headDim();
            int keys = sizes.kvHeads();
            if (global(i)) {
                dim = c.integer("global_head_dim", Sizes.HEAD_DIM, dim);
            }
            if (valuesAreKeys(i)) {
                keys = c.integer("num_global_key_value_heads", Sizes.HEADS, keys);
            }
            // The spelling of transformers 5.
            String own = "per_layer_config";
            if (c.has(own) && c.json().path(own).has(Integer.toString(i))) {
                var layer = c.json().path(own).path(Integer.toString(i));
                dim = layer.path("head_dim").asInt(dim);
                keys = layer.path("num_key_value_heads").asInt(keys);
            }
            if (dim < 1 || keys < 1 || sizes.heads() % keys != 0) {
                throw c.wrong(own, "heads of a size, as many for each KV head");
            }
            return new Heads(sizes.heads(), keys, dim);
        }

        RowSpec rows() {
            if (inputWidth == 0 && lending == types.size()) {
                return RowSpec.PLAIN;
            }
            int beside = sizes.layers() * inputWidth;
            for (int i = 0; i < types.size(); i++) {
                Heads h = heads(i);
                beside += columns.get(i) == 0 ? 0 : h.keys() * (h.dim() + h.valueDim());
            }
            return new RowSpec(1, beside, inputWidth == 0 ? null : inputs());
        }

        private RowSpec.LayerInputs inputs() {
            HfConfig c = sizes.config();
            return new RowSpec.LayerInputs(
                    "model.embed_tokens_per_layer",
                    c.integer("vocab_size_per_layer_input", Sizes.VOCABULARY, sizes.vocabulary()),
                    "model.per_layer_model_projection",
                    sizes.norm("model.per_layer_projection_norm"),
                    sizes.layers(),
                    inputWidth,
                    sizes.hidden());
        }

        LayerSpec layer(int i) {
            String p = Llama.prefix(i);
            List<BranchSpec> all = new ArrayList<>();
            all.add(around(p, "input_layernorm", attention(i), "post_attention_layernorm"));
            all.add(feedForward(p, i));
            if (inputWidth > 0) {
                all.add(
                        BranchSpec.of(
                                null,
                                new LayerInputSpec(
                                        p + "per_layer_input_gate",
                                        p + "per_layer_projection",
                                        activation(),
                                        inputWidth,
                                        inputs().of(i)),
                                sizes.norm(p + "post_per_layer_input_norm")));
            }
            all.add(all.removeLast().timesScalar(p + "layer_scalar"));
            return new LayerSpec(p, all);
        }

        private BranchSpec feedForward(String p, int i) {
            String before = "pre_feedforward_layernorm";
            String behind = "post_feedforward_layernorm";
            if (!sizes.config().flag("enable_moe_block", false)) {
                return around(p, before, mlp(i), behind);
            }
            List<BranchSpec> terms =
                    List.of(
                            around(p, before, mlp(i), behind + "_1"),
                            around(p, before + "_2", experts(p), behind + "_2"));
            return BranchSpec.of(null, new SumSpec(terms, sizes.hidden()), sizes.norm(p + behind));
        }

        private BodySpec experts(String p) {
            Mixture mixture =
                    Mixture.of(sizes, 8, 2).with(new Nonlinearity.Plain(activation()), false);
            Router router =
                    Router.of(p + "router.proj", RouterSpec.softmax(true))
                            .reading(
                                    new Router.Own(
                                            (float) sizes.eps(),
                                            p + "router.scale",
                                            sizes.hidden()))
                            .multipliedBy(p + "router.per_expert_scale");
            return mixture.body(router, p + "experts.", Mixture.Names.PROJECTIONS);
        }

        private BranchSpec around(String p, String before, BodySpec body, String behind) {
            return BranchSpec.of(sizes.norm(p + before), body, sizes.norm(p + behind));
        }

        private ForwardOp.Activation activation() {
            return Sizes.activation(sizes.config(), "hidden_activation", "gelu_pytorch_tanh");
        }

        private MlpSpec mlp(int i) {
            HfConfig c = sizes.config();
            boolean wide = i >= lending && c.flag("use_double_wide_mlp", false);
            return sizes.mlp(
                            Llama.prefix(i) + "mlp.",
                            "hidden_activation",
                            "gelu_pytorch_tanh",
                            false)
                    .of(Size.INTERMEDIATE, (wide ? 2 : 1) * sizes.intermediate());
        }

        private BodySpec attention(int i) {
            String p = Llama.prefix(i) + "self_attn.";
            Heads heads = heads(i);
            RopeConfig config = sizes.config().rope(types.get(i), sizes.absent().rope());
            RopeSpec rope = new RopeSpec(config, heads.dim(), false);
            Scores scores = new Scores(1, global(i) ? 0 : sizes.window(512), 0);
            boolean biased = sizes.config().flag("attention_bias", false);
            if (i >= lending) {
                int from = lender(types.get(i));
                if (from < 0) {
                    throw sizes.config()
                            .wrong(SHARED, "fewer: layer %d has none to borrow from".formatted(i));
                }
                return new BorrowingAttentionSpec(
                        p + "q_proj",
                        p + "o_proj",
                        biased,
                        heads,
                        scores,
                        rope,
                        sizes.norm(p + "q_norm"),
                        Llama.prefix(from) + "self_attn",
                        columns.get(from));
            }
            Projections made = Projections.apart(p + "q_proj", p + "k_proj", p + "v_proj", biased);
            if (valuesAreKeys(i)) {
                made = new Projections(made.names().subList(0, 2), made.order(), biased, 0, 1);
            }
            HeadNorms norms =
                    HeadNorms.of(sizes.norm(p + "q_norm"), sizes.norm(p + "k_norm"))
                            .withValues(sizes.norm(p + "v_norm").plain());
            return new SelfAttentionSpec(made, p + "o_proj", biased, heads, scores, rope)
                    .with(norms)
                    .lending(columns.get(i));
        }
    }

    /// Blocks that borrow keys and values have layers for them all the same, which nobody runs.
    @Override
    public boolean travels(String tensor, HfConfig config) {
        return Sizes.borrows(tensor, config, SHARED) || Architecture.super.travels(tensor, config);
    }

    @Override
    public Optional<String> fixed(Size size, HfConfig c) {
        return switch (size) {
            case LAYERS, HIDDEN ->
                    c.integer("hidden_size_per_layer_input", Range.zeroTo(1 << 20), 0) > 0
                            ? Optional.of("one embedding has channels for each of its layers")
                            : Optional.empty();
            case INTERMEDIATE ->
                    c.flag("use_double_wide_mlp", false)
                            ? Optional.of("its last layers are twice as wide as the others")
                            : Optional.empty();
            case HEADS, KV_HEADS -> Optional.of("its layers have heads of several sizes");
            default -> Optional.empty();
        };
    }
}
