// SPDX-License-Identifier: Apache-2.0
package io.llmc.evaluation.blame;

import com.google.errorprone.annotations.MustBeClosed;
import io.llmc.evaluation.Convention;
import io.llmc.evaluation.EvalSpec;
import io.llmc.pipeline.Inputs.Input;
import io.llmc.pipeline.Option;
import io.llmc.pipeline.Options;
import io.llmc.pipeline.Step;
import io.llmc.tokenizer.TextFiles;
import java.nio.file.Path;
import java.util.List;
import java.util.Optional;
import java.util.Set;

/// Finds out which parts of the model, as it is after the steps before, cost what.
///
/// @param by how large the parts are
/// @param against the original
/// @param window and `convention`, `stride`, `maxWindows`: as in [EvalSpec]
public record BlameStep(
        Unit by, Path data, Path against, int window, String convention, int stride, int maxWindows)
        implements Step {
    public static final String NAME = "blame";

    /// Windows that rank parts well enough.
    private static final int USUAL_WINDOWS = 4;

    public static final Option<Unit> BY =
            Option.choice(
                            "by",
                            Unit.class,
                            Unit.BLOCKS,
                            "What each block or each linear layer (layers) costs: its divergence in"
                                    + " the place of the original's.")
                    .flagged("--blame");

    private static final Option<Path> DATA =
            Option.path(
                    "data",
                    "FILE",
                    "Text (.txt), or records with \"text\" or \"messages\" (.jsonl).");

    private static final Option<Path> AGAINST =
            Option.path("against", "ORIGINAL", "Model that this one was made from.");

    private static final Option<Integer> WINDOW =
            Option.integer("window", 512, "Tokens that the model sees at once (default: %s).");

    private static final Option<Integer> MAX_WINDOWS =
            Option.integer(
                            "maxWindows",
                            USUAL_WINDOWS,
                            "Only the first windows of the text, 0 for all (default: %s).")
                    .within("0 or more", n -> n >= 0);

    public static final Step.Factory FACTORY =
            new Step.Factory(
                    NAME,
                    "what each block or layer costs, by itself in the original",
                    """
                    model: testdata/tale-llama
                    output: out
                    steps:
                      - sweep: [{rtn: {bits: 4}}]
                      - blame:
                          against: testdata/tale-llama
                          data: testdata/tale-llama/test.txt
                          window: 64
                          maxWindows: 2
                    """,
                    List.of(BY, AGAINST, DATA, WINDOW, MAX_WINDOWS),
                    item -> read(item.section(NAME)));

    private static BlameStep read(Options o) {
        return new BlameStep(
                BY.read(o),
                DATA.required(o),
                AGAINST.required(o),
                WINDOW.read(o),
                Convention.GPTQ.label(),
                0,
                MAX_WINDOWS.read(o));
    }

    /// What a command takes apart.
    ///
    /// @param spec with an original and a text
    public static BlameStep of(EvalSpec spec, Unit by) {
        return new BlameStep(
                by,
                spec.data(),
                spec.against(),
                spec.window(),
                spec.convention().label(),
                spec.stride(),
                spec.maxWindows() == 0 ? USUAL_WINDOWS : spec.maxWindows());
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
                new Input("the text", data, false), new Input("the original", against, false));
    }

    @Override
    public Optional<Set<String>> figureNames() {
        return Optional.of(BlameResult.names());
    }

    @Override
    @MustBeClosed
    @SuppressWarnings("MustBeClosed") // the caller closes it
    public Plan plan(Context context) {
        TextFiles.requireFile(data, "{by} reads a text: .txt or .jsonl");
        EvalSpec spec =
                new EvalSpec(
                        context.model(),
                        against,
                        data,
                        window,
                        Convention.parse(convention),
                        stride,
                        maxWindows);
        return new BlameJob(
                spec,
                by,
                context.models(),
                context.backend(),
                context.memory(),
                context.progress());
    }
}
