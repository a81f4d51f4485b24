// SPDX-License-Identifier: Apache-2.0
package io.llmc.formats.safetensors;

import io.llmc.formats.FormatException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.SequencedMap;
import java.util.Set;

/// Tensors under the names that the hub gives them: without what training tools and models around
/// the decoder put before or between them, and with the `model.` that a decoder saved without its
/// head lacks.
final class TensorNames {
    /// What torch.compile, FSDP and activation checkpointing put anywhere in a name.
    private static final Set<String> WRAPPERS =
            Set.of("_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module");

    /// What data parallelism puts before every name.
    private static final String PARALLEL = "module";

    /// What stands before a decoder inside of another model.
    private static final Set<String> OUTER =
            Set.of(PARALLEL, "model", "language_model", "text_model", "base_model");

    private static final Set<String> DECODER =
            Set.of(
                    "layers",
                    "embed_tokens",
                    "norm",
                    "embed_tokens_per_layer",
                    "per_layer_model_projection",
                    "per_layer_projection_norm",
                    "altup_projections",
                    "altup_unembed_projections");
    private static final Set<String> GPT2 = Set.of("h", "wte", "wpe", "ln_f");

    private TensorNames() {}

    /// The names of the hub, in the order of the given ones.
    ///
    /// @param part the decoder is a part of the model, whose names say so on the hub, too
    /// @throws FormatException where two tensors stand for the same
    static SequencedMap<String, String> ofHub(Path directory, Set<String> names, boolean part) {
        SequencedMap<String, String> hub = new LinkedHashMap<>();
        Map<String, String> taken = new HashMap<>();
        boolean whole = part || names.stream().anyMatch(TensorNames::isWhole);
        for (String name : names) {
            String plain = plain(name, whole);
            hub.put(name, plain);
            String other = taken.put(plain, name);
            if (other != null) {
                throw new FormatException(
                        directory,
                        "'%s' and '%s' are both the tensor '%s': leave out one of the two models"
                                .formatted(other, name, plain));
            }
        }
        return hub;
    }

    /// Whether a tensor is of a decoder whose names begin with its layers' on the hub, too:
    /// DeepSeek's own.
    private static boolean isWhole(String name) {
        return name.equals("embed.weight") || name.endsWith(".embed.weight");
    }

    /// @param whole nothing is put before or taken from a name, but what training tools put there
    private static String plain(String name, boolean whole) {
        List<String> parts = new ArrayList<>(Arrays.asList(name.split("\\.", -1)));
        parts.removeIf(WRAPPERS::contains);
        while (parts.size() > 1 && parts.getFirst().equals(PARALLEL)) {
            parts.removeFirst();
        }
        if (whole) {
            return String.join(".", parts);
        }
        int inner = 0;
        while (inner < parts.size() && OUTER.contains(parts.get(inner))) {
            inner++;
        }
        List<String> tail = parts.subList(inner, parts.size());
        if (tail.size() < 2) {
            return String.join(".", parts);
        }
        String first = tail.getFirst();
        boolean isNorm = first.equals("norm") && tail.size() == 2;
        if (isNorm || !first.equals("norm") && DECODER.contains(first)) {
            return "model." + String.join(".", tail);
        }
        boolean gpt2 =
                GPT2.contains(first) || first.equals("transformer") && GPT2.contains(tail.get(1));
        return String.join(".", gpt2 || first.equals("lm_head") ? tail : parts);
    }
}
