// SPDX-License-Identifier: Apache-2.0
package io.llmc.evaluation.speculation;

import com.google.errorprone.annotations.MustBeClosed;
import io.llmc.pipeline.Inputs.Input;
import io.llmc.pipeline.Option;
import io.llmc.pipeline.Options;
import io.llmc.pipeline.Step;
import java.util.List;
import java.util.Optional;
import java.util.Set;

/// Lets another model draft for the one that there is, and measures what that gains.
public record SpeculationStep(SpeculationSpec spec) implements Step {
    public static final String NAME = "speculate";

    public static final List<Option<?>> OPTIONS = SpeculationSpec.OPTIONS;

    public static final Step.Factory FACTORY =
            new Step.Factory(
                    NAME,
                    "speculative decoding with a draft: acceptance, speed-up, the same text",
                    """
                    model: testdata/tale-llama
                    output: out
                    steps:
                      - speculate: {draft: testdata/tale-llama, data: testdata/tale-llama/test.txt, maxPrompts: 2, maxTokens: 8}
                    """,
                    OPTIONS,
                    item -> read(item.section(NAME)));

    public static SpeculationStep read(Options o) {
        return new SpeculationStep(SpeculationSpec.read(o));
    }

    @Override
    public String name() {
        return NAME;
    }

    @Override
    public boolean writes() {
        return false;
    }

    @Override
    public List<Input> inputs() {
        return List.of(
                new Input("the draft", spec.draft(), false),
                new Input("the prompts", spec.prompts(), false));
    }

    @Override
    public Optional<Set<String>> figureNames() {
        return Optional.of(SpeculationResult.NAMES);
    }

    @Override
    @MustBeClosed
    @SuppressWarnings("MustBeClosed") // the caller closes it
    public Plan plan(Context context) {
        return new SpeculationRun(
                context.models(), spec, context.backend(), context.progress(), context.memory());
    }
}
