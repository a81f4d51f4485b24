// SPDX-License-Identifier: Apache-2.0
package io.llmc.model.arch;

import io.llmc.formats.HfConfig;
import io.llmc.formats.UserException;
import io.llmc.formats.checkpoint.Checkpoint;
import io.llmc.model.Architecture;
import io.llmc.model.ModelSpec;
import java.util.List;
import java.util.Set;
import java.util.stream.Collectors;

/// Every architecture that llmc knows.
public final class Architectures {
    public static final List<Architecture> ALL =
            List.of(
                    new Llama(),
                    new Qwen2(),
                    new Qwen3(),
                    new Gemma3(),
                    new Phi3(),
                    new Gpt2(),
                    new GptNeoX(),
                    new Mixtral());

    private Architectures() {}

    /// The model in a checkpoint.
    ///
    /// @throws UserException where no architecture claims its `model_type`
    public static ModelSpec specOf(Checkpoint checkpoint) {
        return specOf(checkpoint.config(), checkpoint.names());
    }

    /// Some writers keep a tied matrix under the head's name alone.
    private static ModelSpec tiedByEitherName(ModelSpec spec, Set<String> tensors) {
        boolean headOnly =
                spec.tied()
                        && !tensors.contains(spec.embedding() + ".weight")
                        && tensors.contains("lm_head.weight");
        return headOnly ? spec.withTiedEmbedding("lm_head") : spec;
    }

    /// As [#specOf(Checkpoint)], from the parts.
    public static ModelSpec specOf(HfConfig config, Set<String> tensors) {
        return tiedByEitherName(of(config).spec(config, tensors), tensors);
    }

    /// The family of a config.
    ///
    /// @throws UserException where none claims its `model_type`
    public static Architecture of(HfConfig config) {
        String type = config.modelType();
        for (Architecture a : ALL) {
            if (a.modelTypes().contains(type)) {
                return a;
            }
        }
        String known =
                ALL.stream()
                        .flatMap(a -> a.modelTypes().stream())
                        .sorted()
                        .collect(Collectors.joining(", "));
        throw new UserException(
                "model_type \"" + type + "\" is not known to llmc", "known: " + known);
    }
}
