// SPDX-License-Identifier: Apache-2.0
package io.llmc.cli;

import io.llmc.evaluation.latency.LatencyStep;
import io.llmc.evaluation.speculation.SpeculationStep;
import io.llmc.pipeline.Option;
import io.llmc.pipeline.Step;
import java.nio.file.Path;
import java.util.List;
import java.util.Optional;
import picocli.CommandLine.Model.CommandSpec;

/// How fast a model is, by itself and with a draft.
final class SpeedOptions {
    /// `--against` is the command's own: it is for texts as well.
    private static final List<Option<?>> OWN =
            LatencyStep.OPTIONS.stream().filter(o -> !o.key().equals("against")).toList();

    private final StepFlags latency = new StepFlags(LatencyStep.NAME, OWN);

    private final StepFlags draft = new StepFlags(SpeculationStep.NAME, SpeculationStep.OPTIONS);

    void addTo(CommandSpec command) {
        latency.addTo(command);
        draft.addTo(command);
    }

    /// Empty where it was not asked for and no other flag is about it.
    ///
    /// @param against the original; null for none
    Optional<Step> toLatency(boolean asked, Path against) {
        return latency.given()
                .or(() -> asked ? Optional.of(new RecipeTree(LatencyStep.NAME)) : Optional.empty())
                .map(tree -> {
                    tree.put("against", against == null ? null : against.toString(), "--against");
                    return LatencyStep.read(tree.options());
                });
    }

    /// Empty where no flag is about it.
    ///
    /// @param prompts null where none are given
    Optional<Step> toSpeculation(Path prompts) {
        return draft.given()
                .map(tree -> {
                    tree.expect("draft", "--draft");
                    tree.expect("data", "--data");
                    tree.put("data", prompts == null ? null : prompts.toString(), "--data");
                    return SpeculationStep.read(tree.options());
                });
    }
}
