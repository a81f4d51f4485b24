// SPDX-License-Identifier: Apache-2.0
package io.llmc.evaluation;

import com.google.errorprone.annotations.MustBeClosed;
import io.llmc.pipeline.Inputs.Input;
import io.llmc.pipeline.Option;
import io.llmc.pipeline.Options;
import io.llmc.pipeline.Step;
import io.llmc.tokenizer.TextFiles;
import java.nio.file.Path;
import java.util.List;
import java.util.Objects;
import java.util.Optional;
import java.util.Set;
import java.util.stream.Stream;

/// Measures the model as it is after the steps before.
///
/// @param data and `window`, `convention`, `stride`: as in [EvalSpec]
/// @param against null for none; `kldBase` and `saveKldBase` too
/// @param once whether the text is read once, so that it may be a pipe
public record EvaluateStep(
        Path data,
        int window,
        String convention,
        int stride,
        int maxWindows,
        Path against,
        Path kldBase,
        Path saveKldBase,
        boolean once)
        implements Step {
    private static final Option<Path> DATA =
            Option.path(
                    "data",
                    "FILE",
                    "Text (.txt), or records with \"text\" or \"messages\" (.jsonl).");

    private static final Option<Path> AGAINST =
            Option.path(
                    "against",
                    "ORIGINAL",
                    "Model that this one was made from: shows what was lost.");

    private static final Option<Integer> WINDOW =
            Option.integer(
                    "window",
                    null,
                    "Tokens that the model sees at once (default: 512, or as {kldBase} has it).");

    private static final Option<String> CONVENTION =
            Option.text(
                            "convention",
                            null,
                            "Which tokens of a window count: gptq (all), llama.cpp (the second"
                                    + " half), sliding (those that the window before did not reach)"
                                    + " (default: gptq; with {kldBase}: llama.cpp).")
                    .as("NAME");

    private static final Option<Integer> MAX_WINDOWS =
            Option.integer("maxWindows", 0, "Only the first windows of the text (default: all).");

    private static final Option<Path> KLD_BASE =
            Option.path(
                    "kldBase",
                    "FILE",
                    "What llama.cpp kept of the original's predictions: shows what was lost,"
                            + " without the original; brings text and window.");

    public static final Step.Factory FACTORY =
            new Step.Factory(
                    "evaluate",
                    "perplexity of the model on a text, and its distance from another",
                    """
                    model: testdata/tale-llama
                    output: out
                    steps:
                      - evaluate: {data: testdata/tale-llama/test.txt, maxWindows: 2}
                    """,
                    List.of(DATA, AGAINST, WINDOW, CONVENTION, MAX_WINDOWS, KLD_BASE),
                    EvaluateStep::read);

    /// Names of the figures of a comparison with an original.
    public static final Set<String> COMPARISON = EvalResult.comparisonNames();

    private static EvaluateStep read(Options item) {
        Options o = item.section("evaluate");
        Path base = KLD_BASE.read(o);
        return new EvaluateStep(
                base == null ? DATA.required(o) : DATA.read(o),
                Objects.requireNonNullElse(WINDOW.read(o), 0),
                CONVENTION.read(o),
                0,
                MAX_WINDOWS.read(o),
                AGAINST.read(o),
                base,
                null,
                false);
    }

    /// What a command measures by itself.
    public static EvaluateStep of(EvalSpec spec) {
        return new EvaluateStep(
                spec.data(),
                spec.window(),
                spec.convention().label(),
                spec.stride(),
                spec.maxWindows(),
                spec.against(),
                spec.kldBase(),
                spec.saveKldBase(),
                true);
    }

    @Override
    public String name() {
        return "evaluate";
    }

    @Override
    public boolean writes() {
        return false;
    }

    @Override
    public List<Input> inputs() {
        return Stream.of(
                        new Input("the text", data, false),
                        new Input("the original", against, false),
                        new Input("the KLD base", kldBase, false))
                .filter(input -> input.path() != null)
                .toList();
    }

    @Override
    public Optional<Set<String>> figureNames() {
        return Optional.of(EvalResult.names(spec(Path.of(""))));
    }

    @Override
    @MustBeClosed
    @SuppressWarnings("MustBeClosed") // the caller closes it
    public Plan plan(Context context) {
        if (!once && data != null) {
            TextFiles.requireFile(data, "evaluate.data names a text: .txt or .jsonl");
        }
        return new Evaluator(
                        context.models(), context.backend(), context.progress(), context.memory())
                .prepare(spec(context.model()));
    }

    private EvalSpec spec(Path model) {
        return new EvalSpec(
                model,
                against,
                data,
                window,
                convention == null ? null : Convention.parse(convention),
                stride,
                maxWindows,
                kldBase,
                saveKldBase);
    }
}
