// SPDX-License-Identifier: Apache-2.0
package io.llmc.model;

import io.llmc.formats.RopeScaling;
import io.llmc.formats.UserException;
import io.llmc.model.LayerSpec.LinearSpec;
import io.llmc.model.structure.NormSpec;
import io.llmc.model.structure.RopeSpec;
import io.llmc.model.structure.Size;
import java.nio.file.Path;
import java.util.List;

/// A decoder model as data: what an architecture makes of a config.json.
///
/// @param embedding name of the token embedding, without `.weight`
/// @param positionEmbedding name of the learned positions; null for none
/// @param embeddingScale the embedding is multiplied by it
/// @param head name of the output layer; the embedding's where tied
/// @param logitSoftcap 0 for none
/// @param inOutLinears linear weights are stored `[in, out]` (GPT-2's Conv1D)
/// @param maxPositions longest sequence
public record ModelSpec(
        String modelType,
        int hidden,
        int vocabulary,
        int maxPositions,
        List<LayerSpec> layers,
        NormSpec finalNorm,
        String embedding,
        String positionEmbedding,
        float embeddingScale,
        String head,
        float logitSoftcap,
        boolean inOutLinears) {
    public ModelSpec {
        boolean fits =
                hidden > 0
                        && vocabulary > 0
                        && maxPositions > 0
                        && !layers.isEmpty()
                        && Float.isFinite(embeddingScale)
                        && logitSoftcap >= 0;
        if (!fits) {
            throw new IllegalArgumentException("no model of these sizes: " + modelType);
        }
    }

    /// The same with another name for a tied embedding.
    public ModelSpec withTiedEmbedding(String name) {
        return new ModelSpec(
                modelType,
                hidden,
                vocabulary,
                maxPositions,
                layers,
                finalNorm,
                name,
                positionEmbedding,
                embeddingScale,
                name,
                logitSoftcap,
                inOutLinears);
    }

    /// The output layer; the embedding's matrix where tied.
    public LinearSpec output() {
        return new LinearSpec(head, vocabulary, hidden, false, List.of(Size.HIDDEN));
    }

    public boolean tied() {
        return head.equals(embedding);
    }

    /// Whether angles follow the length, so that sequences may be longer than the positions.
    public boolean stretches() {
        return positionEmbedding == null
                && layers.stream()
                        .flatMap(LayerSpec::ropes)
                        .anyMatch(r -> r.config().scaling() instanceof RopeScaling.Dynamic);
    }

    /// Whether what stands behind a token changes what the model makes of it: by the length of the
    /// sequence alone.
    public boolean dependsOnLength() {
        return layers.stream().flatMap(LayerSpec::ropes).anyMatch(RopeSpec::dependsOnLength);
    }

    /// @param model as a sentence calls it
    /// @throws UserException where sequences are longer than the model's positions
    public void requirePositions(int length, Path model, String remedy) {
        if (length > maxPositions) {
            throw new UserException(
                    "windows of %,d tokens are longer than the %,d positions of %s"
                            .formatted(length, maxPositions, model),
                    remedy);
        }
    }
}
