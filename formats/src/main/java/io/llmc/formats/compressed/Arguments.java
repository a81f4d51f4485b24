// SPDX-License-Identifier: Apache-2.0
package io.llmc.formats.compressed;

import com.fasterxml.jackson.databind.JsonNode;
import io.llmc.formats.ConfigSection;
import io.llmc.formats.checkpoint.Quantization;
import io.llmc.tensor.ActivationScheme;
import io.llmc.tensor.CacheScheme;
import io.llmc.tensor.Codes;
import io.llmc.tensor.Encoding;
import io.llmc.tensor.ScaleKind;
import io.llmc.tensor.Tiles;
import java.util.Locale;
import java.util.Set;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/// Reads the library's `QuantizationArgs`: how one kind of numbers is rounded.
///
/// @param section of weights, of inputs, or of the cache
/// @param what for messages: the format that they belong to
record Arguments(ConfigSection section, String what) {
    private static final Set<String> TYPES = Set.of("int", "float");
    private static final Set<String> ORDERS = Set.of("group", "weight", "static", "dynamic");
    private static final Set<String> INDEXED = Set.of("group", "dynamic");
    private static final Set<String> STRATEGIES =
            Set.of("tensor", "channel", "group", "block", "token", "tensor_group", "attn_head");
    private static final Pattern BLOCK = Pattern.compile("([1-9]\\d{0,5})x([1-9]\\d{0,5})");

    /// A grid as weights have it.
    Encoding.Grid<?> weights(ScaleKind scales) {
        requireOrder();
        String strategy = strategy();
        if (strategy.equals("token") || strategy.equals("attn_head")) {
            return refuse(" of weights");
        }
        Codes codes = codes();
        return codes instanceof Codes.Ints
                ? new Encoding.Grid<>(codes, tiles(strategy))
                : new Encoding.Grid<>(codes, tiles(strategy), scales);
    }

    /// How a layer's inputs are rounded. A scale of the values at hand covers no more than one
    /// token, see [ActivationScheme]; one that a file holds covers all.
    ActivationScheme inputs(ScaleKind weightScales) {
        String strategy = strategy();
        Codes codes = codes();
        boolean nested = strategy.equals("tensor_group");
        boolean dynamic = dynamic(nested);
        boolean known =
                switch (strategy) {
                    case "token", "group", "tensor_group" -> dynamic;
                    case "tensor" -> !dynamic;
                    default -> false;
                };
        if (!known) {
            return refuse(
                    " of inputs, " + (dynamic ? "whose scales are dynamic" : "which is static"));
        }
        ScaleKind scales =
                nested
                        ? ScaleKind.NESTED
                        : codes instanceof Codes.Floats && weightScales == ScaleKind.POWER
                                ? ScaleKind.POWER
                                : ScaleKind.FLOAT;
        return new ActivationScheme(new Encoding.Grid<>(codes, tiles(strategy), scales), dynamic);
    }

    CacheScheme cache() {
        String strategy = strategy();
        Codes codes = codes();
        boolean known = strategy.equals("tensor") || strategy.equals("attn_head");
        boolean symmetric = !(codes instanceof Codes.Ints ints) || ints.symmetric();
        if (!known || dynamic(false) || !symmetric || codes.bits() != 8) {
            return Quantization.refuse(
                    section,
                    "compressed-tensors with a cache of %d-bit %s, strategy '%s'"
                            .formatted(codes.bits(), type(), strategy));
        }
        return new CacheScheme(codes, strategy.equals("attn_head"));
    }

    private String type() {
        return section.word("type", "int", TYPES);
    }

    private Codes codes() {
        boolean ints = type().equals("int");
        boolean symmetric = section.flag("symmetric", true);
        int bits = Quantization.bits(section, "num_bits");
        if (ints && bits >= 2 && bits <= 8) {
            return new Codes.Ints(bits, symmetric);
        }
        if (!ints && symmetric && bits == 8) {
            return Codes.Floats.E4M3;
        }
        if (!ints && symmetric && bits == 4) {
            return Codes.Floats.E2M1;
        }
        return Quantization.refuse(
                section,
                "compressed-tensors %s of %d-bit %s%s"
                        .formatted(what, bits, type(), symmetric ? "" : ", asymmetric"));
    }

    /// Where it is left out, group sizes tell.
    private String strategy() {
        int size = Quantization.groupSize(section);
        String absent = size > 0 ? "group" : size == Tiles.ALL ? "channel" : "tensor";
        return section.word("strategy", absent, STRATEGIES);
    }

    private Tiles tiles(String strategy) {
        return switch (strategy) {
            case "tensor" -> Tiles.TENSOR;
            case "channel", "token" -> Tiles.ROW;
            case "block" -> block();
            default -> Tiles.groups(groupSize(strategy));
        };
    }

    private int groupSize(String strategy) {
        int size = Quantization.groupSize(section);
        if (size <= 0) {
            throw section.wrong("group_size", "a number above 0, as strategy is " + strategy);
        }
        return size;
    }

    /// `[rows, columns]`, or `"128x128"` as older files have it.
    private Tiles block() {
        String key = "block_structure";
        String expected = "two numbers above 0, as strategy is block";
        JsonNode value = section.values().path(key);
        if (value.isTextual()) {
            Matcher m = BLOCK.matcher(value.textValue());
            if (m.matches()) {
                return new Tiles(Integer.parseInt(m.group(1)), Integer.parseInt(m.group(2)));
            }
        } else if (value.isArray()
                && value.size() == 2
                && value.valueStream().allMatch(n -> n.isInt() && n.intValue() > 0)) {
            return new Tiles(value.get(0).intValue(), value.get(1).intValue());
        }
        throw section.wrong(key, expected);
    }

    /// `true`, `false`, or `"local"` for nested scales, of which one is a parameter.
    private boolean dynamic(boolean nested) {
        JsonNode value = section.values().path("dynamic");
        boolean local = value.isTextual() && value.textValue().equals("local");
        if (value.isTextual() && !local) {
            throw section.wrong("dynamic", "true, false or local");
        }
        return local ? nested : section.flag("dynamic", false) && !nested;
    }

    /// Whether groups follow the order of activations, as up to compressed-tensors 0.18.
    boolean indexed() {
        JsonNode order = section.values().path("actorder");
        return order.asBoolean() || INDEXED.contains(order.asText().toLowerCase(Locale.ROOT));
    }

    /// The order in which columns were quantized: only `weight_g_idx` tells what that means for
    /// reading, but a word that nobody knows may.
    private void requireOrder() {
        if (!section.values().path("actorder").isBoolean()) {
            section.word("actorder", null, ORDERS);
        }
    }

    private <T> T refuse(String whose) {
        return Quantization.refuse(
                section,
                "compressed-tensors %s with strategy '%s'%s".formatted(what, strategy(), whose));
    }
}
