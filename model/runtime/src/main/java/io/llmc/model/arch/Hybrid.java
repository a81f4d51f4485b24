// SPDX-License-Identifier: Apache-2.0
package io.llmc.model.arch;

import io.llmc.formats.HfConfig;
import io.llmc.formats.Range;
import java.util.List;
import java.util.Set;
import java.util.function.IntFunction;
import java.util.stream.Collectors;
import java.util.stream.IntStream;

/// Which layers of a model have another mixer than attention.
final class Hybrid {
    private static final String LETTERS = "hybrid_override_pattern";
    private static final String KINDS = "layers_block_type";

    private Hybrid() {}

    /// A letter for each block, as Nemotron-H has them: M for a state space, * for attention, E for
    /// experts, - for a feed-forward; or these in words.
    ///
    /// @param last what the names of the last block's tensors begin with
    static String letters(HfConfig c, IntFunction<String> last, Set<String> tensors) {
        String key = c.has(LETTERS) ? LETTERS : KINDS;
        String letters =
                c.has(LETTERS)
                        ? c.text(LETTERS, "")
                        : c.texts(KINDS).stream().map(Hybrid::letter).collect(Collectors.joining());
        if (!letters.matches("[ME*-]{1,10000}")) {
            throw c.wrong(
                    c.has(KINDS) ? KINDS : LETTERS,
                    "a kind for each block: M, E, * and -, or linear_attention, moe, full_attention"
                            + " and mlp");
        }
        Sizes.requireTensors(c, key, last.apply(letters.length() - 1), tensors);
        return letters;
    }

    private static String letter(String kind) {
        return switch (kind) {
            case "linear_attention", "mamba" -> "M";
            case "moe" -> "E";
            case "full_attention", "attention" -> "*";
            case "mlp" -> "-";
            default -> kind;
        };
    }

    /// By `layer_types`; where it is absent, by `full_attention_interval`.
    ///
    /// @param other what `layer_types` calls the other mixer
    static List<Boolean> layers(HfConfig c, int layers, String other) {
        List<String> types = c.texts("layer_types");
        if (types.isEmpty()) {
            int interval = c.integer("full_attention_interval", Range.upTo(10_000), 4);
            return IntStream.range(0, layers).mapToObj(i -> (i + 1) % interval != 0).toList();
        }
        return types(c, "layer_types", types, layers, other);
    }

    /// @param types one for each layer
    static List<Boolean> types(
            HfConfig c, String key, List<String> types, int layers, String other) {
        if (types.size() != layers || !List.of(other, Sizes.GLOBAL).containsAll(types)) {
            throw c.wrong(
                    key,
                    "%d of %s and %s, one for each layer".formatted(layers, other, Sizes.GLOBAL));
        }
        return types.stream().map(other::equals).toList();
    }
}
