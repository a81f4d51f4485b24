// SPDX-License-Identifier: Apache-2.0
package io.llmc.evaluation.blame;

import io.llmc.formats.checkpoint.Checkpoint;
import io.llmc.model.DecoderBlock;
import io.llmc.model.LayerSpec;
import io.llmc.model.LayerSpec.LinearSpec;
import io.llmc.model.Linear;
import io.llmc.model.ModelSpec;
import io.llmc.model.language.LanguageModel;
import io.llmc.model.language.Replacement;
import io.llmc.tensor.Tensor;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;

/// A part of the compressed model that goes into the original by itself.
sealed interface Part {
    /// What people call it: `model.layers.3`.
    String name();

    /// What the names of its tensors begin with.
    default String prefix() {
        return name() + ".";
    }

    /// What `ignore` takes for its linear layers.
    default String pattern() {
        return name();
    }

    /// The token embedding.
    ///
    /// @param tied it is the output layer, too
    record Embedding(String name, boolean tied) implements Part {}

    /// The final norm and the output layer.
    record Head(String name) implements Part {}

    /// What is inside of block `index`.
    sealed interface Inner extends Part {
        int index();

        /// The original's block with this part of the compressed model's.
        ///
        /// @param place of the original
        DecoderBlock in(DecoderBlock original, DecoderBlock compressed, int hidden, Path place);
    }

    /// A whole block.
    record Block(String name, int index) implements Inner {
        @Override
        public String pattern() {
            return prefix() + "*";
        }

        @Override
        public DecoderBlock in(
                DecoderBlock original, DecoderBlock compressed, int hidden, Path place) {
            return compressed;
        }
    }

    /// A linear layer.
    record Layer(String name, int index) implements Inner {
        @Override
        public DecoderBlock in(
                DecoderBlock original, DecoderBlock compressed, int hidden, Path place) {
            Linear ours =
                    compressed.linears().stream()
                            .filter(l -> l.name().equals(name))
                            .findFirst()
                            .orElseThrow();
            Replacement replaced = new Replacement(original, place);
            replaced.put(name, ours.weight());
            replaced.put(name, ours.rounding());
            Tensor bias = compressed.parameters().get(name + ".bias");
            if (bias != null) {
                replaced.put(name + ".bias", bias);
            }
            return LanguageModel.block(original.spec(), hidden, replaced);
        }
    }

    /// All of a model, in the order in which they run.
    ///
    /// @param compressed what the parts are taken from, which fits `original`
    static List<Part> of(ModelSpec original, ModelSpec compressed, Unit unit) {
        List<Part> parts = new ArrayList<>();
        boolean tied = original.tied() && compressed.tied();
        parts.add(new Embedding(original.embedding(), tied));
        for (int i = 0; i < original.layers().size(); i++) {
            LayerSpec layer = original.layers().get(i);
            switch (unit) {
                case BLOCKS -> parts.add(new Block(blockName(layer), i));
                case LAYERS -> {
                    for (LinearSpec linear : layer.linears(original.hidden())) {
                        parts.add(new Layer(linear.name(), i));
                    }
                }
            }
        }
        if (!tied) {
            parts.add(new Head(compressed.tied() ? original.head() : compressed.head()));
        }
        return parts;
    }

    private static String blockName(LayerSpec layer) {
        String prefix = layer.prefix();
        return prefix.endsWith(".") ? prefix.substring(0, prefix.length() - 1) : prefix;
    }

    /// Bytes of the part's tensors in a checkpoint.
    default long bytes(Checkpoint c) {
        return c.names().stream()
                .filter(name -> name.startsWith(prefix()))
                .mapToLong(name -> c.info(name).byteSize())
                .sum();
    }
}
