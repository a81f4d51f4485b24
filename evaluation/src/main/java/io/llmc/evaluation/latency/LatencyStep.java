// SPDX-License-Identifier: Apache-2.0
package io.llmc.evaluation.latency;

import com.google.errorprone.annotations.MustBeClosed;
import io.llmc.pipeline.Inputs.Input;
import io.llmc.pipeline.Option;
import io.llmc.pipeline.Options;
import io.llmc.pipeline.Step;
import java.nio.file.Path;
import java.util.List;
import java.util.Optional;
import java.util.Set;

/// Times the model as it is after the steps before, beside another where one is named.
public record LatencyStep(LatencySpec spec) implements Step {
    private static final Option<Path> AGAINST =
            Option.path("against", "ORIGINAL", "Model that is timed in turns with this one.");

    public static final String NAME = "latency";

    public static final List<Option<?>> OPTIONS =
            Option.join(List.of(AGAINST), LatencySpec.OPTIONS);

    public static final Step.Factory FACTORY =
            new Step.Factory(
                    NAME,
                    "time to the first token, tokens a second, single steps, memory",
                    """
                    model: testdata/tale-llama
                    output: out
                    steps:
                      - latency: {steps: 4, repeats: 3}
                    """,
                    OPTIONS,
                    item -> read(item.section(NAME)));

    public static LatencyStep read(Options o) {
        return new LatencyStep(LatencySpec.read(o, AGAINST.read(o)));
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
        return spec.against() == null
                ? List.of()
                : List.of(new Input("the original", spec.against(), false));
    }

    /// Figures that gates can be about, whatever is left out for want of positions.
    @Override
    public Optional<Set<String>> figureNames() {
        return Optional.of(LatencyResult.names(spec.against() != null));
    }

    @Override
    @MustBeClosed
    @SuppressWarnings("MustBeClosed") // the caller closes it
    public Plan plan(Context context) {
        return new LatencyRun(
                context.models(),
                spec,
                context.backend(),
                context.progress(),
                context.memory(),
                WarmUp.USUAL);
    }
}
