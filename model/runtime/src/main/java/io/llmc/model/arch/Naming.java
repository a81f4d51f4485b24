// SPDX-License-Identifier: Apache-2.0
package io.llmc.model.arch;

import java.util.Comparator;
import java.util.Optional;
import java.util.Set;
import java.util.stream.Collectors;

/// What a checkpoint calls a text decoder whose names an architecture knows: `model.layers.0` may
/// be `layers.0` where a model was saved without its head, `_orig_mod.model.layers.0` where it was
/// compiled, `language_model.model.layers.0` or `model.language_model.layers.0` where it is one
/// part of a model among others. No prefix is known by name: the embedding tells it.
///
/// @param root what the architecture's names begin with
/// @param stored what the checkpoint's names begin with instead
/// @param head name of the output layer, without `.weight`
/// @param storedHead what the checkpoint calls it
record Naming(String root, String stored, String head, String storedHead) {
    /// @param embedding the architecture's name of the token embedding
    /// @param head its name of the output layer
    /// @param tensors the checkpoint's names
    static Naming of(String embedding, String head, Set<String> tensors) {
        String root = embedding.substring(0, embedding.lastIndexOf('.') + 1);
        String leaf = embedding.substring(root.length());
        String stored = tensors.contains(embedding + ".weight") ? root : root(leaf, tensors, root);
        String storedHead =
                tensors.stream().anyMatch(name -> name.startsWith(head + "."))
                        ? head
                        : tensors.stream()
                                .map(name -> part(name, head))
                                .flatMap(Optional::stream)
                                .min(Comparator.naturalOrder())
                                .orElse(head);
        return new Naming(root, stored, head, storedHead);
    }

    /// The one with the most tensors, of all that have such an embedding.
    private static String root(String leaf, Set<String> tensors, String otherwise) {
        return tensors.stream()
                .map(name -> part(name, leaf))
                .flatMap(Optional::stream)
                .map(name -> name.substring(0, name.length() - leaf.length()))
                .distinct()
                .max(
                        Comparator.<String>comparingLong(
                                        r -> tensors.stream().filter(n -> n.startsWith(r)).count())
                                .thenComparing(Comparator.reverseOrder()))
                .orElse(otherwise);
    }

    /// A tensor's module, where it has this last name.
    private static Optional<String> part(String tensor, String leaf) {
        int end = tensor.lastIndexOf('.');
        if (end < 0) {
            return Optional.empty();
        }
        String module = tensor.substring(0, end);
        return module.equals(leaf) || module.endsWith("." + leaf)
                ? Optional.of(module)
                : Optional.empty();
    }

    boolean changesNothing() {
        return root.equals(stored) && head.equals(storedHead);
    }

    /// The checkpoint's name of what the architecture calls so.
    String stored(String name) {
        if (isOrIsIn(name, head)) {
            return storedHead + name.substring(head.length());
        }
        return name.startsWith(root) ? stored + name.substring(root.length()) : name;
    }

    /// The architecture's name of what the checkpoint calls so.
    String known(String name) {
        if (isOrIsIn(name, storedHead)) {
            return head + name.substring(storedHead.length());
        }
        return name.startsWith(stored) ? root + name.substring(stored.length()) : name;
    }

    /// Whether a tensor of the checkpoint belongs to the text decoder.
    boolean isInDecoder(String name) {
        return isOrIsIn(name, storedHead) || name.startsWith(stored);
    }

    private static boolean isOrIsIn(String name, String module) {
        return name.equals(module) || name.startsWith(module + ".");
    }

    Set<String> known(Set<String> tensors) {
        return changesNothing()
                ? tensors
                : tensors.stream().map(this::known).collect(Collectors.toUnmodifiableSet());
    }
}
