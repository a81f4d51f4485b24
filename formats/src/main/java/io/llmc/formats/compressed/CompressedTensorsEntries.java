// SPDX-License-Identifier: Apache-2.0
package io.llmc.formats.compressed;

import com.fasterxml.jackson.databind.node.ObjectNode;
import io.llmc.formats.Json;
import io.llmc.formats.checkpoint.QuantPlan;
import io.llmc.tensor.ActivationScheme;
import io.llmc.tensor.Codes;
import io.llmc.tensor.Encoding;
import io.llmc.tensor.Tiles;
import java.util.List;

/// The `quantization_config` of compressed-tensors. The library refuses keys that it does not know:
/// these are exactly those that it writes.
final class CompressedTensorsEntries {
    /// The version whose config this writes.
    private static final String VERSION = "0.19.0";

    private CompressedTensorsEntries() {}

    static ObjectNode config(QuantPlan plan) {
        List<QuantPlan.Group> groups = plan.groups();
        ObjectNode config = Json.object();
        ObjectNode entries = config.putObject("config_groups");
        for (int i = 0; i < groups.size(); i++) {
            // A class as target would win over names where vLLM loads several layers as one.
            List<String> targets =
                    groups.size() == 1 && plan.linear(groups.getFirst())
                            ? List.of("Linear")
                            : plan.patterns(groups.get(i), false).stream()
                                    .map(p -> "re:" + p)
                                    .toList();
            entries.set("group_" + i, group(groups.get(i), targets));
        }
        List<String> formats = groups.stream().map(g -> format(grid(g))).distinct().toList();
        config.put("format", formats.size() == 1 ? formats.getFirst() : "mixed-precision");
        config.putNull("global_compression_ratio");
        plan.plain().forEach(config.putArray("ignore")::add);
        config.putNull("kv_cache_scheme");
        config.put("quant_method", "compressed-tensors");
        config.put("quantization_status", "compressed");
        config.putObject("sparsity_config");
        config.putObject("transform_config");
        config.put("version", VERSION);
        return config;
    }

    private static ObjectNode group(QuantPlan.Group group, List<String> targets) {
        ObjectNode entry = Json.object();
        entry.put("format", format(grid(group)));
        entry.set(
                "input_activations",
                group.scheme().inputs().map(CompressedTensorsEntries::inputs).orElse(null));
        entry.putNull("output_activations");
        targets.forEach(entry.putArray("targets")::add);
        entry.set("weights", weights(group));
        return entry;
    }

    private static Encoding.Grid<?> grid(QuantPlan.Group group) {
        return (Encoding.Grid<?>) group.scheme().weights();
    }

    private static String format(Encoding.Grid<?> grid) {
        return switch (grid.codes()) {
            case Codes.Ints _ -> "pack-quantized";
            case Codes.Floats _ -> "float-quantized";
        };
    }

    private static ObjectNode weights(QuantPlan.Group group) {
        Encoding.Grid<?> grid = grid(group);
        ObjectNode weights = values(grid.codes(), grid.tiles(), strategy(grid.tiles(), "channel"));
        if (group.solver().ordered() && grid.tiles().cols() != Tiles.ALL) {
            // Readers refuse an order of columns where there are no groups.
            weights.put("actorder", group.solver().groupIndex() ? "group" : "static");
        }
        weights.put("dynamic", false);
        weights.put("observer", "memoryless_minmax");
        if (grid.codes() instanceof Codes.Ints ints && !ints.symmetric()) {
            weights.put("zp_dtype", "torch.int8");
        }
        return weights;
    }

    private static ObjectNode inputs(ActivationScheme scheme) {
        ObjectNode inputs =
                values(scheme.codes(), scheme.tiles(), strategy(scheme.tiles(), "token"));
        inputs.put("dynamic", scheme.dynamic());
        if (scheme.dynamic()) {
            inputs.putNull("observer");
        } else {
            inputs.put("observer", "memoryless_minmax");
        }
        return inputs;
    }

    /// @param row what a scale for each row is called
    private static String strategy(Tiles tiles, String row) {
        if (tiles.equals(Tiles.ROW)) {
            return row;
        }
        return tiles.equals(Tiles.TENSOR) ? "tensor" : tiles.rows() == 1 ? "group" : "block";
    }

    /// All keys, in the library's order, as far as codes and tiles say them.
    private static ObjectNode values(Codes codes, Tiles tiles, String strategy) {
        ObjectNode values = Json.object();
        values.putNull("actorder");
        if (strategy.equals("block")) {
            values.putArray("block_structure").add(tiles.rows()).add(tiles.cols());
        } else {
            values.putNull("block_structure");
        }
        values.put("dynamic", false);
        values.put("group_size", strategy.equals("group") ? (Integer) tiles.cols() : null);
        values.put("num_bits", codes.bits());
        values.putNull("observer");
        values.putObject("observer_kwargs");
        values.putNull("scale_dtype");
        values.put("strategy", strategy);
        values.put("symmetric", !(codes instanceof Codes.Ints ints) || ints.symmetric());
        values.put("type", codes instanceof Codes.Ints ? "int" : "float");
        values.putNull("zp_dtype");
        return values;
    }
}
