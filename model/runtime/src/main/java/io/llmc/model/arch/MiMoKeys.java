// SPDX-License-Identifier: Apache-2.0
package io.llmc.model.arch;

import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.DoubleNode;
import com.fasterxml.jackson.databind.node.JsonNodeFactory;
import com.fasterxml.jackson.databind.node.ObjectNode;
import io.llmc.formats.HfConfig;
import io.llmc.formats.Range;
import java.util.List;
import java.util.Map;
import java.util.stream.IntStream;

/// What the published config.json of MiMo V2 Flash says, under the keys that transformers 5 writes,
/// and with its defaults.
final class MiMoKeys {
    private static final JsonNodeFactory JSON = JsonNodeFactory.instance;
    private static final String LOCAL = "hybrid_layer_pattern";
    private static final String SPARSE = "moe_layer_freq";
    private static final Range THETA = Range.above(1, 1e15);

    private MiMoKeys() {}

    static HfConfig modern(HfConfig published) {
        HfConfig c = published;
        requireTwice(c);
        if (c.has("layernorm_epsilon")) {
            double eps = c.decimal("layernorm_epsilon", Sizes.EPS, 1e-5);
            c = c.with("rms_norm_eps", DoubleNode.valueOf(eps));
        }
        if (c.has("sliding_window_size")) {
            // The tokens before a token, without itself.
            int before = c.integer("sliding_window_size", HfConfig.POSITIONS);
            c = c.with("sliding_window", before + 1);
        }
        if (!c.has("layer_types")) {
            c = c.with("layer_types", types(c));
        }
        if (!c.has("mlp_layer_types")) {
            requireOneDense(c);
        }
        return c.has("rope_parameters") ? c : c.with("rope_parameters", rope(c));
    }

    /// Layers with a window have heads as the others do, and twice their keys.
    private static void requireTwice(HfConfig c) {
        Map.of(
                        "swa_num_attention_heads", "num_attention_heads",
                        "swa_num_key_value_heads", "num_key_value_heads",
                        "swa_head_dim", "head_dim",
                        "swa_v_head_dim", "v_head_dim")
                .forEach((key, other) -> {
                    int times = other.equals("num_key_value_heads") ? 2 : 1;
                    if (c.has(key) && c.has(other) && c.integer(key) != times * c.integer(other)) {
                        throw c.wrong(
                                key,
                                "%d, %d times %s"
                                        .formatted(times * c.integer(other), times, other));
                    }
                });
    }

    /// The first layer and every sixth see all, whatever the pattern says: another is refused.
    private static ArrayNode types(HfConfig c) {
        int layers = c.integer("num_hidden_layers", Sizes.LAYERS);
        List<Integer> local =
                IntStream.range(0, layers)
                        .mapToObj(i -> i == 0 || (i + 1) % 6 == 0 ? 0 : 1)
                        .toList();
        if (c.has(LOCAL) && !c.integers(LOCAL).equals(local)) {
            throw c.wrong(LOCAL, "0 for the first layer and every sixth, 1 for the others");
        }
        ArrayNode types = JSON.arrayNode();
        local.forEach(is -> types.add(is == 1 ? Sizes.LOCAL : Sizes.GLOBAL));
        return types;
    }

    private static void requireOneDense(HfConfig c) {
        int layers = c.integer("num_hidden_layers", Sizes.LAYERS);
        List<Integer> first = IntStream.range(0, layers).mapToObj(i -> Math.min(i, 1)).toList();
        if (c.has(SPARSE) && !c.integers(SPARSE).equals(first)) {
            throw c.wrong(SPARSE, "0 for the first layer, 1 for the others");
        }
    }

    private static ObjectNode rope(HfConfig c) {
        double part = c.decimal("partial_rotary_factor", Range.above(0, 1), 0.334);
        ObjectNode both = JSON.objectNode();
        both.set(Sizes.GLOBAL, rope(c.decimal("rope_theta", THETA, 5_000_000), part));
        both.set(Sizes.LOCAL, rope(c.decimal("swa_rope_theta", THETA, 10_000), part));
        return both;
    }

    private static ObjectNode rope(double theta, double part) {
        return JSON.objectNode()
                .put("rope_type", "default")
                .put("rope_theta", theta)
                .put("partial_rotary_factor", part);
    }
}
