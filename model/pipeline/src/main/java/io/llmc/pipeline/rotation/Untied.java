// SPDX-License-Identifier: Apache-2.0
package io.llmc.pipeline.rotation;

import io.llmc.formats.HfConfig;
import io.llmc.formats.TensorInfo;
import io.llmc.formats.checkpoint.Checkpoint;
import io.llmc.model.ModelSpec;
import io.llmc.model.arch.Architectures;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Optional;
import java.util.SequencedMap;

/// A model whose output layer has a matrix of its own, where it shares the embedding's.
public final class Untied {
    private static final String WEIGHT = ".weight";

    private Untied() {}

    /// The same model with a matrix for each of the two.
    public static Checkpoint of(Checkpoint source) {
        ModelSpec spec = Architectures.specOf(source);
        if (!spec.tied()) {
            return source;
        }
        HfConfig config = Architectures.of(source.config()).untied(source.config());
        ModelSpec apart = Architectures.specOf(config, source.names());
        String stored = spec.embedding() + WEIGHT;
        TensorInfo matrix = source.info(stored);
        SequencedMap<String, TensorInfo> infos = new LinkedHashMap<>();
        for (String name : source.names()) {
            infos.put(name, source.info(name));
        }
        for (String linear : List.of(apart.embedding(), apart.head())) {
            String name = linear + WEIGHT;
            infos.put(name, TensorInfo.of(name, matrix.dtype(), matrix.shape().dims()));
        }
        return source.derived(
                config, infos, (name, base, _) -> base.tensor(source.has(name) ? name : stored));
    }

    /// What that costs, in a sentence; empty where nothing is shared.
    public static Optional<String> note(Checkpoint source) {
        ModelSpec spec = Architectures.specOf(source);
        return spec.tied()
                ? Optional.of(
                        "the output layer is no longer tied to the embedding: %,d weights more"
                                .formatted((long) spec.vocabulary() * spec.hidden()))
                : Optional.empty();
    }
}
