// SPDX-License-Identifier: Apache-2.0
package io.llmc.formats.compressed;

import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import io.llmc.formats.Json;
import io.llmc.formats.checkpoint.QuantPlan;
import io.llmc.tensor.ActivationScheme;
import io.llmc.tensor.CacheScheme;
import io.llmc.tensor.Codes;
import io.llmc.tensor.Encoding;
import io.llmc.tensor.ScaleKind;
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
            Format format = Format.of(groups.get(i).scheme());
            entries.set("group_" + i, group(groups.get(i), format, targets));
        }
        List<Format> all = groups.stream().map(g -> Format.of(g.scheme())).distinct().toList();
        config.put("format", all.size() == 1 ? all.getFirst().id() : "mixed-precision");
        config.putNull("global_compression_ratio");
        ArrayNode ignore = config.putArray("ignore");
        plan.untouched().forEach(u -> ignore.add(u.isPattern() ? "re:" + u.text() : u.text()));
        config.set(
                "kv_cache_scheme",
                plan.schemes().kvCache().map(CompressedTensorsEntries::cache).orElse(null));
        config.put("quant_method", "compressed-tensors");
        config.put("quantization_status", "compressed");
        config.putObject("sparsity_config");
        config.putObject("transform_config");
        config.put("version", VERSION);
        return config;
    }

    private static ObjectNode group(QuantPlan.Group group, Format format, List<String> targets) {
        ObjectNode entry = Json.object();
        entry.put("format", format.id());
        entry.set(
                "input_activations",
                group.scheme().inputs().map(CompressedTensorsEntries::inputs).orElse(null));
        entry.putNull("output_activations");
        targets.forEach(entry.putArray("targets")::add);
        entry.set("weights", weights(group));
        return entry;
    }

    private static ObjectNode weights(QuantPlan.Group group) {
        Encoding.Grid<?> grid = (Encoding.Grid<?>) group.scheme().weights();
        ObjectNode weights = values(grid, strategy(grid, "channel"));
        if (group.solver().ordered() && grid.tiles().cols() != Tiles.ALL) {
            // Readers refuse an order of columns where there are no groups.
            weights.put("actorder", "static");
        }
        weights.put("observer", "memoryless_minmax");
        return weights;
    }

    private static ObjectNode inputs(ActivationScheme scheme) {
        ObjectNode inputs = values(scheme.grid(), strategy(scheme.grid(), "token"));
        if (scheme.grid().scales() == ScaleKind.NESTED) {
            inputs.put("dynamic", "local");
        } else {
            inputs.put("dynamic", scheme.dynamic());
        }
        if (scheme.calibrated()) {
            inputs.put("observer", "static_minmax");
        }
        return inputs;
    }

    private static ObjectNode cache(CacheScheme scheme) {
        Encoding.Grid<?> grid = new Encoding.Grid<>(scheme.codes(), Tiles.TENSOR);
        return values(grid, scheme.byHead() ? "attn_head" : "tensor");
    }

    /// @param row what a scale for each row is called
    private static String strategy(Encoding.Grid<?> grid, String row) {
        Tiles tiles = grid.tiles();
        if (grid.scales() == ScaleKind.NESTED) {
            return "tensor_group";
        }
        if (tiles.equals(Tiles.ROW)) {
            return row;
        }
        return tiles.equals(Tiles.TENSOR) ? "tensor" : tiles.rows() == 1 ? "group" : "block";
    }

    /// All keys, in the library's order, as far as a grid says them.
    private static ObjectNode values(Encoding.Grid<?> grid, String strategy) {
        Codes codes = grid.codes();
        Tiles tiles = grid.tiles();
        boolean symmetric = !(codes instanceof Codes.Ints ints) || ints.symmetric();
        ObjectNode values = Json.object();
        values.putNull("actorder");
        if (strategy.equals("block")) {
            values.putArray("block_structure").add(tiles.rows()).add(tiles.cols());
        } else {
            values.putNull("block_structure");
        }
        values.put("dynamic", false);
        values.put("group_size", strategy.endsWith("group") ? (Integer) tiles.cols() : null);
        values.put("num_bits", codes.bits());
        values.putNull("observer");
        values.putObject("observer_kwargs");
        values.put(
                "scale_dtype",
                switch (grid.scales()) {
                    case FLOAT -> null;
                    case POWER -> "torch.uint8";
                    case NESTED -> "torch.float8_e4m3fn";
                });
        values.put("strategy", strategy);
        values.put("symmetric", symmetric);
        values.put("type", codes instanceof Codes.Ints ? "int" : "float");
        values.put("zp_dtype", symmetric ? null : "torch.int8");
        return values;
    }
}
