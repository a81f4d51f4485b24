// SPDX-License-Identifier: Apache-2.0
package io.llmc.model.arch;

import io.llmc.formats.HfConfig;
import io.llmc.formats.Range;
import io.llmc.model.BodySpec;
import io.llmc.model.BranchSpec;
import io.llmc.model.ExpertsSpec;
import io.llmc.model.ExpertsSpec.Router;
import io.llmc.model.LayerSpec;
import io.llmc.model.MlpSpec;
import io.llmc.model.Nonlinearity;
import io.llmc.model.structure.Size;
import java.util.ArrayList;
import java.util.List;
import java.util.Set;
import java.util.function.IntPredicate;
import java.util.stream.IntStream;

/// The experts of a block as config.json counts them, under one key or another.
///
/// @param key of the number of experts
/// @param intermediate channels of each
/// @param size that counts the channels
/// @param biased whether the experts' layers have biases
record Mixture(
        Sizes sizes,
        String key,
        int experts,
        int topK,
        int intermediate,
        Size size,
        Nonlinearity nonlinearity,
        boolean biased) {
    /// Names of an expert's layers, behind its number.
    ///
    /// @param gate null for none
    record Names(String gate, String up, String down) {
        static final Names UNGATED = new Names(null, "up_proj", "down_proj");
        static final Names PROJECTIONS = new Names("gate_proj", "up_proj", "down_proj");

        /// As Mixtral has them.
        static final Names NUMBERED = new Names("w1", "w3", "w2");
    }

    /// SwiGLU without biases, or what `hidden_act` says in its place.
    Mixture(Sizes sizes, String key, int experts, int topK, int intermediate, Size size) {
        this(
                sizes,
                key,
                experts,
                topK,
                intermediate,
                size,
                new Nonlinearity.Plain(Sizes.activation(sizes.config(), "hidden_act", "silu")),
                false);
    }

    private static final Range EXPERTS = Range.upTo(1 << 16);
    private static final String OWN_SIZE = "moe_intermediate_size";

    private static final List<String> COUNTS =
            List.of("num_local_experts", "num_experts", "n_routed_experts", "moe_num_experts");
    private static final List<String> CHOSEN =
            List.of(
                    "num_experts_per_tok",
                    "num_experts_per_token",
                    "moe_k",
                    "moe_topk",
                    "top_k_experts");

    /// @param experts where the config does not say
    /// @param topK likewise
    static Mixture of(Sizes s, int experts, int topK) {
        HfConfig c = s.config();
        String key = first(c, COUNTS);
        String chosenKey = first(c, CHOSEN);
        int count = c.integer(key, EXPERTS, experts);
        int chosen = c.integer(chosenKey, EXPERTS, topK);
        if (chosen > count) {
            throw c.wrong(chosenKey, "at most %d, %s".formatted(count, key));
        }
        boolean own = c.has(OWN_SIZE);
        return new Mixture(
                s,
                key,
                count,
                chosen,
                own ? c.integer(OWN_SIZE, Sizes.CHANNELS) : s.intermediate(),
                own ? Size.EXPERT_INTERMEDIATE : Size.INTERMEDIATE);
    }

    Mixture with(Nonlinearity other, boolean biases) {
        return new Mixture(sizes, key, experts, topK, intermediate, size, other, biases);
    }

    private static String first(HfConfig c, List<String> keys) {
        return keys.stream().filter(c::has).findFirst().orElse(keys.getFirst());
    }

    /// Before anything is made for each expert.
    ///
    /// @param prefix of the experts of some block
    Mixture requireTensors(String prefix, Set<String> tensors) {
        Sizes.requireTensors(sizes.config(), key, prefix + (experts - 1) + ".", tensors);
        return this;
    }

    /// @param prefix of what belongs to all of them
    ExpertsSpec body(Router router, String prefix, Names names) {
        return new ExpertsSpec(
                router,
                IntStream.range(0, experts)
                        .mapToObj(e -> mlp(prefix + e + ".", names).of(size, intermediate))
                        .toList(),
                topK);
    }

    /// As one expert is.
    MlpSpec mlp(String prefix, Names names) {
        boolean gated = names.gate() != null;
        String up = prefix + names.up();
        return new MlpSpec(
                gated ? List.of(prefix + names.gate(), up) : List.of(up),
                prefix + names.down(),
                biased,
                intermediate,
                nonlinearity,
                gated);
    }

    /// An expert that every token goes to.
    MlpSpec shared(String prefix, int channels) {
        return shared(prefix, Names.PROJECTIONS, channels);
    }

    MlpSpec shared(String prefix, Names names, int channels) {
        return mlp(prefix, names).of(Size.SHARED_INTERMEDIATE, channels);
    }

    /// A block under Llama's names, whose experts have some beside them that every token goes to.
    ///
    /// @param routed prefix of the experts
    /// @param shared prefix of those beside them, which are one layer
    /// @param count how many they are; 0 for none
    LayerSpec layer(
            int i, BodySpec attention, Router router, String routed, String shared, int count) {
        LayerSpec alone = Llama.layer(sizes, i, attention, body(router, routed, Names.PROJECTIONS));
        return count == 0 ? alone : beside(alone, shared(shared, count * intermediate));
    }

    /// The layer with another feed-forward that reads what its experts read.
    static LayerSpec beside(LayerSpec layer, MlpSpec shared) {
        return beside(layer, shared, 1);
    }

    /// @param share of it that is added
    static LayerSpec beside(LayerSpec layer, MlpSpec shared, float share) {
        List<BranchSpec> branches = new ArrayList<>(layer.branches());
        branches.add(BranchSpec.of(branches.getLast().pre(), shared).beside().times(share));
        return new LayerSpec(layer.prefix(), branches);
    }

    /// Layers with experts where the first ones have none.
    ///
    /// @param key of their number, where `mlp_layer_types` does not say
    static IntPredicate sparseBehind(Sizes s, String key, int absent) {
        List<String> types = s.config().texts("mlp_layer_types");
        if (types.isEmpty()) {
            int dense = s.config().integer(key, Range.zeroTo(10_000), absent);
            return i -> i >= dense;
        }
        if (types.size() != s.layers() || !List.of("dense", "sparse").containsAll(types)) {
            throw s.config()
                    .wrong(
                            "mlp_layer_types",
                            "%d of dense and sparse, one for each layer".formatted(s.layers()));
        }
        return i -> types.get(i).equals("sparse");
    }

    /// Layers with experts in Qwen's models.
    static IntPredicate sparse(HfConfig c) {
        int step = c.integer("decoder_sparse_step", Range.upTo(10_000), 1);
        List<Integer> dense = c.integers("mlp_only_layers");
        return i -> !dense.contains(i) && (i + 1) % step == 0;
    }
}
