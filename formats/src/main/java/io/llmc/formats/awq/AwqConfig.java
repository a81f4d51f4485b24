// SPDX-License-Identifier: Apache-2.0
package io.llmc.formats.awq;

import com.fasterxml.jackson.databind.node.ObjectNode;
import io.llmc.formats.ConfigSection;
import io.llmc.formats.Json;
import io.llmc.formats.UserException;
import io.llmc.formats.checkpoint.QuantPlan;
import io.llmc.formats.checkpoint.Quantization;
import io.llmc.tensor.Codes;
import io.llmc.tensor.Encoding;
import io.llmc.tensor.Scheme;
import io.llmc.tensor.Tiles;
import java.util.List;
import java.util.Locale;
import java.util.Optional;

/// What the config of an AWQ model says: one grid for all layers, but for those that are named.
///
/// @param plain parts of names; a layer whose name has one of them is not packed
/// @param head whether the output layer is packed, too
record AwqConfig(Encoding.Grid<Codes.Ints> grid, List<String> plain, boolean head)
        implements Quantization {
    static final int BITS = 4;

    /// The one order of values in a word that llmc knows.
    private static final String VERSION = "gemm";

    /// Reads the keys of AutoAWQ, and those of the config files beside its first models: `w_bit`,
    /// `q_group_size`.
    static AwqConfig of(ConfigSection q) {
        String version = q.text("version", q.text("checkpoint_format", VERSION));
        if (!version.toLowerCase(Locale.ROOT).equals(VERSION)) {
            return Quantization.refuse(q, "AWQ " + version);
        }
        int bits = Quantization.bits(q, q.has("bits") ? "bits" : "w_bit");
        String word = q.text("pack_dtype", "int32");
        if (bits != BITS || !word.equals("int32")) {
            return Quantization.refuse(q, "AWQ of %d bits in %s words".formatted(bits, word));
        }
        int size = Quantization.groupSize(q, q.has("group_size") ? "group_size" : "q_group_size");
        return new AwqConfig(
                Encoding.ints(bits, size > 0 ? size : Tiles.ALL, !q.flag("zero_point", true)),
                q.texts("modules_to_not_convert"),
                q.flag("lm_head", false));
    }

    @Override
    public Optional<Scheme> scheme(String linear) {
        return plain.stream().anyMatch(linear::contains) || !head && linear.equals("lm_head")
                ? Optional.empty()
                : Optional.of(Scheme.of(grid));
    }

    /// @throws UserException where one entry for all layers cannot say it
    static void check(QuantPlan plan) {
        List<QuantPlan.Group> groups = plan.groups();
        if (groups.size() > 1) {
            throw new UserException(
                    "awq has one grid for all layers, but '%s' is to have %s and '%s' %s"
                            .formatted(
                                    groups.getFirst().linears().getFirst(),
                                    groups.getFirst().scheme().describe(),
                                    groups.get(1).linears().getFirst(),
                                    groups.get(1).scheme().describe()),
                    "give all layers the same scheme, or use {save.layout} compressed-tensors");
        }
        for (String plain : plan.untouchedParts()) {
            plan.schemes().byLinear().keySet().stream()
                    .filter(packed -> packed.contains(plain))
                    .findFirst()
                    .ifPresent(packed -> {
                        throw new UserException(
                                "awq names plain layers by parts of names, and '%s', which is to stay plain, is a part of '%s', which is not"
                                        .formatted(plain, packed),
                                "leave both out with {ignore}, or use {save.layout}"
                                        + " compressed-tensors");
                    });
        }
    }

    /// AutoAWQ's keys, and those that GPTQModel adds to know them by.
    static ObjectNode write(QuantPlan plan, String toolVersion) {
        Encoding.Grid<?> grid = (Encoding.Grid<?>) plan.groups().getFirst().scheme().weights();
        ObjectNode config = Json.object();
        config.put("bits", grid.codes().bits());
        config.put("checkpoint_format", VERSION);
        config.put("desc_act", false);
        config.put("format", VERSION);
        config.put("group_size", grid.tiles().cols());
        config.put("lm_head", false);
        config.putObject("meta").putArray("quantizer").add("llmc:" + toolVersion);
        config.put("method", "awq");
        plan.untouchedParts().forEach(config.putArray("modules_to_not_convert")::add);
        config.put("pack_dtype", "int32");
        config.put("quant_method", "awq");
        config.put("version", VERSION);
        config.put("zero_point", !symmetric(grid));
        return config;
    }

    private static boolean symmetric(Encoding.Grid<?> grid) {
        return grid.codes() instanceof Codes.Ints(_, boolean symmetric) && symmetric;
    }
}
