// SPDX-License-Identifier: Apache-2.0
package io.llmc.model.arch;

import io.llmc.backend.ForwardOp.Activation;
import io.llmc.formats.HfConfig;
import io.llmc.formats.Range;
import io.llmc.formats.RopeConfig;
import io.llmc.formats.RopeScaling;
import io.llmc.formats.UserException;
import io.llmc.model.LayerSpec;
import io.llmc.model.MlpSpec;
import io.llmc.model.ModelSpec;
import io.llmc.model.SelfAttentionSpec;
import io.llmc.model.structure.NormSpec;
import io.llmc.model.structure.RopeSpec;
import java.util.Comparator;
import java.util.List;
import java.util.Optional;
import java.util.Set;
import java.util.function.IntFunction;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.IntStream;

/// The keys that Llama and its descendants share.
///
/// @param eps of every RMS norm
/// @param positions longest sequence
record Sizes(
        HfConfig config,
        int hidden,
        int vocabulary,
        int layers,
        int heads,
        int kvHeads,
        int headDim,
        int intermediate,
        double eps,
        Defaults absent) {
    static final String LOCAL = "sliding_attention";
    static final String GLOBAL = "full_attention";

    /// What the names of all tensors of the blocks begin with, before the block's number.
    static final String BLOCKS = "model.layers.";

    private static final Pattern BORROWED =
            Pattern.compile(
                    "model\\.layers\\.([0-9]{1,6})\\.self_attn\\.(k_proj|v_proj|k_norm)\\.weight");

    static final Range LAYERS = Range.upTo(10_000);
    static final Range CHANNELS = Range.upTo(1 << 20);
    static final Range HEADS = Range.upTo(1 << 14);
    static final Range HEAD_DIM = Range.upTo(1 << 14);
    static final Range VOCABULARY = Range.upTo(1 << 26);
    static final Range EPS = Range.above(0, 1000);
    static final Range CAP = Range.above(0, 1e9);

    private static final String HIDDEN = "hidden_size";
    private static final String ATTENTION_HEADS = "num_attention_heads";
    private static final String KV_HEADS = "num_key_value_heads";
    private static final String HEAD_SIZE = "head_dim";
    private static final String WINDOW = "sliding_window";

    /// What transformers 5 takes where a family's config leaves a key out.
    ///
    /// @param kvHeads 0 for as many as there are heads
    /// @param headDim 0 for hidden size / heads
    record Defaults(int kvHeads, int headDim, double eps, RopeConfig.Defaults rope) {}

    static Sizes of(HfConfig c, Defaults absent) {
        return of(c, absent, "rms_norm_eps");
    }

    /// @param epsKey of all norms
    static Sizes of(HfConfig c, Defaults absent, String epsKey) {
        int hidden = c.integer(HIDDEN, CHANNELS);
        int heads = c.integer(ATTENTION_HEADS, HEADS);
        return new Sizes(
                c,
                hidden,
                c.integer("vocab_size", VOCABULARY),
                c.integer("num_hidden_layers", LAYERS),
                heads,
                kvHeads(c, heads, absent),
                headDim(c, hidden, heads, absent),
                c.integer("intermediate_size", CHANNELS),
                c.decimal(epsKey, EPS, absent.eps()),
                absent);
    }

    /// Null, as nothing, is as many as there are heads, but where the family has another default.
    private static int kvHeads(HfConfig c, int heads, Defaults absent) {
        int none = absent.kvHeads() == 0 || c.mentions(KV_HEADS) ? heads : absent.kvHeads();
        int kvHeads = c.has(KV_HEADS) ? c.integer(KV_HEADS, HEADS) : none;
        if (heads % kvHeads != 0) {
            throw c.wrong(
                    KV_HEADS, "a number that divides %d, %s".formatted(heads, ATTENTION_HEADS));
        }
        return kvHeads;
    }

    private static int headDim(HfConfig c, int hidden, int heads, Defaults absent) {
        if (absent.headDim() != 0) {
            return c.integer(HEAD_SIZE, HEAD_DIM, absent.headDim());
        }
        if (c.has(HEAD_SIZE)) {
            return c.integer(HEAD_SIZE, HEAD_DIM);
        }
        if (hidden < heads || hidden / heads > HEAD_DIM.most()) {
            throw c.wrong(
                    ATTENTION_HEADS,
                    "a number that divides %d, %s, into heads of 1 to %,d"
                            .formatted(hidden, HIDDEN, (int) HEAD_DIM.most()));
        }
        return hidden / heads;
    }

    /// Longest sequence.
    int positions() {
        return config.integer(
                "max_position_embeddings", HfConfig.POSITIONS, absent.rope().maxPositions());
    }

    /// Keys that a position sees in a layer with a window; 0 where there is none.
    ///
    /// @param missing where the config does not have the key; null in it is for none
    int window(int missing) {
        if (!config.mentions(WINDOW)) {
            return missing;
        }
        // transformers 5 writes 0 for none, too.
        return config.has(WINDOW) ? config.integer(WINDOW, Range.zeroTo(1 << 28)) : 0;
    }

    /// `layer_types`; empty where absent.
    List<String> layerTypes() {
        List<String> types = config.texts("layer_types");
        if (config.has("layer_types") && types.size() != layers
                || !List.of(GLOBAL, LOCAL).containsAll(types)) {
            throw config.wrong(
                    "layer_types",
                    "%d of full_attention and sliding_attention, one for each layer"
                            .formatted(layers));
        }
        return types;
    }

    /// The rotation of all layers, whole heads of them.
    RopeSpec rope() {
        return rope(GLOBAL);
    }

    /// The rotation of layers of one type, whole heads of them.
    RopeSpec rope(String layerType) {
        RopeConfig rope = config.rope(layerType, absent.rope());
        if (rope.partialRotaryFactor() != 1) {
            throw new UserException(
                    "config.json: partial_rotary_factor is %s, but a %s turns whole heads"
                            .formatted(rope.partialRotaryFactor(), config.modelType()),
                    "compare it with the published config.json");
        }
        return partialRope(rope);
    }

    /// The rotation of as many dimensions of a head as the config says.
    RopeSpec partialRope(RopeConfig rope) {
        return partialRope(rope, headDim);
    }

    static RopeSpec partialRope(RopeConfig rope, int headDim) {
        int rotated = (int) (headDim * rope.partialRotaryFactor());
        boolean dynamic = rope.scaling() instanceof RopeScaling.Dynamic;
        if (rotated % 2 != 0 || rotated < (dynamic ? 4 : 2)) {
            throw new UserException(
                    "config.json: %d dimensions of each head turn (head_dim, or hidden_size / num_attention_heads, times partial_rotary_factor), expected an even number from %d"
                            .formatted(rotated, dynamic ? 4 : 2),
                    "compare it with the published config.json");
        }
        if (rope.scaling() instanceof RopeScaling.LongRope s) {
            requireHalf("short_factor", s.shortFactors(), rotated);
            requireHalf("long_factor", s.longFactors(), rotated);
        }
        return new RopeSpec(rope, rotated, false);
    }

    private static void requireHalf(String key, List<Double> factors, int rotated) {
        if (factors.size() != rotated / 2) {
            throw new UserException(
                    "config.json: %s has %d numbers, expected %d (half of the rotated dimensions)"
                            .formatted(key, factors.size(), rotated / 2),
                    "compare it with the published config.json");
        }
    }

    /// `layer(0) .. layer(layers - 1)`
    ///
    /// @param tensors the checkpoint's names
    List<LayerSpec> stack(Set<String> tensors, IntFunction<LayerSpec> layer) {
        requireTensors(config, "num_hidden_layers", BLOCKS + (layers - 1) + ".", tensors);
        return IntStream.range(0, layers).mapToObj(layer).toList();
    }

    /// Whether a tensor makes keys or values in one of the last blocks, which borrow them.
    ///
    /// @param shared key of how many these are
    static boolean borrows(String tensor, HfConfig c, String shared) {
        Matcher m = BORROWED.matcher(tensor);
        int layers = c.integer("num_hidden_layers", LAYERS);
        int last = c.integer(shared, Range.zeroTo(layers - 1), 0);
        return m.matches() && Integer.parseInt(m.group(1)) >= layers - last;
    }

    /// Before anything is made for each block or expert: a config may claim more than memory holds.
    ///
    /// @param last what the names of the last one's tensors begin with
    /// @param tensors none where there is a config alone
    static void requireTensors(HfConfig c, String key, String last, Set<String> tensors) {
        if (!tensors.isEmpty() && tensors.stream().noneMatch(name -> name.startsWith(last))) {
            throw c.wrong(
                    key,
                    "as many as there are tensors for: none is called %s*%s"
                            .formatted(last, instead(last, tensors)));
        }
    }

    private static String instead(String last, Set<String> tensors) {
        Optional<String> prefixed =
                tensors.stream().filter(name -> name.contains("." + last)).findFirst();
        if (prefixed.isPresent()) {
            return "; there is '%s', under a prefix that llmc does not know: save it without"
                    .formatted(prefixed.get());
        }
        String stem = last.substring(0, last.indexOf('.') + 1);
        return tensors.stream().anyMatch(name -> name.startsWith(stem))
                ? ""
                : tensors.stream()
                        .max(Comparator.comparing(String::length))
                        .map("; names look like '%s': rename them as transformers does"::formatted)
                        .orElse("");
    }

    ModelSpec model(List<LayerSpec> layers, ModelSpec.Input input, ModelSpec.Output output) {
        return new ModelSpec(
                config.modelType(), hidden, vocabulary, positions(), input, layers, output, false);
    }

    NormSpec norm(String name) {
        return NormSpec.rms(name, eps);
    }

    /// Attention under Llama's names, with scores divided by the root of the head's size.
    SelfAttentionSpec attention(String prefix, RopeSpec rope, int window, boolean biased) {
        return attention(prefix, rope, window, biased, biased);
    }

    SelfAttentionSpec attention(
            String prefix, RopeSpec rope, int window, boolean biased, boolean outputBiased) {
        return new SelfAttentionSpec(
                SelfAttentionSpec.Projections.apart(
                        prefix + "q_proj", prefix + "k_proj", prefix + "v_proj", biased),
                prefix + "o_proj",
                outputBiased,
                headSizes(),
                SelfAttentionSpec.Scores.of(headSizes(), window),
                rope);
    }

    private SelfAttentionSpec.Heads headSizes() {
        return new SelfAttentionSpec.Heads(heads, kvHeads, headDim);
    }

    /// The same with a norm over each head of q and k.
    SelfAttentionSpec attentionWithHeadNorms(
            String prefix, RopeSpec rope, int window, float scale, float normOffset) {
        return attention(prefix, rope, window, config.flag("attention_bias", false))
                .with(new SelfAttentionSpec.Scores(scale, window, 0))
                .with(
                        SelfAttentionSpec.HeadNorms.of(
                                norm(prefix + "q_norm").offsetBy(normOffset),
                                norm(prefix + "k_norm").offsetBy(normOffset)));
    }

    /// Feed-forward under Llama's names.
    MlpSpec mlp(String prefix, String activationKey, String activation, boolean biased) {
        return new MlpSpec(
                List.of(prefix + "gate_proj", prefix + "up_proj"),
                prefix + "down_proj",
                biased,
                intermediate,
                activation(config, activationKey, activation),
                true);
    }

    /// The name of the output layer.
    static String head(HfConfig c, boolean tiedByDefault, String embedding, String head) {
        return c.flag("tie_word_embeddings", tiedByDefault) ? embedding : head;
    }

    static Activation activation(HfConfig c, String key, String absent) {
        String name = c.text(key, absent);
        return switch (name) {
            case "silu", "swish" -> Activation.SILU;
            case "gelu_new", "gelu_pytorch_tanh", "gelu_fast" -> Activation.GELU_TANH;
            case "gelu" -> Activation.GELU_ERF;
            case "relu" -> Activation.RELU;
            case "relu2" -> Activation.RELU_SQUARED;
            default ->
                    throw new UserException(
                            "config.json: %s asks for the activation \"%s\", which llmc does not know"
                                    .formatted(key, name),
                            "known: silu, gelu, gelu_new, gelu_pytorch_tanh, relu, relu2");
        };
    }
}
