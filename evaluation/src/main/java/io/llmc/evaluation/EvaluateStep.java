// SPDX-License-Identifier: Apache-2.0
package io.llmc.evaluation;

import io.llmc.pipeline.Inputs.Input;
import io.llmc.pipeline.Options;
import io.llmc.pipeline.Progress;
import io.llmc.pipeline.Step;
import io.llmc.tokenizer.TextFiles;
import java.nio.file.Path;
import java.util.List;

/// Measures the model as it is after the steps before.
///
///     - evaluate: {data: test.txt, window: 512, convention: gptq, maxWindows: 0, against: DIR}
///
/// @param against null for none
public record EvaluateStep(Path data, int window, String convention, int maxWindows, Path against)
        implements Step {
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
                    EvaluateStep::read);

    private static EvaluateStep read(Options item) {
        Options o = item.section("evaluate");
        return new EvaluateStep(
                o.path("data"),
                o.integer("window", 512),
                o.text("convention", "gptq"),
                o.integer("maxWindows", 0),
                o.path("against", (Path) null));
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
        Input text = new Input("the text", data, false);
        return against == null
                ? List.of(text)
                : List.of(text, new Input("the original", against, false));
    }

    /// What the step will measure, the model that is there already can be measured on.
    @Override
    public void check(Context context) {
        TextFiles.requireFile(data, "evaluate.data names a text: .txt or .jsonl");
        bytes(context);
    }

    @Override
    public Plan plan(Context context) {
        return new Ready(this, context, bytes(context));
    }

    private long bytes(Context context) {
        return new Evaluator(context.backend(), Progress.NONE, context.memory())
                .bytes(spec(context));
    }

    private EvalSpec spec(Context context) {
        return new EvalSpec(
                context.model(),
                against,
                data,
                window,
                Convention.parse(convention),
                0,
                maxWindows);
    }

    private record Ready(EvaluateStep step, Context context, long bytes) implements Plan {
        @Override
        public Outcome run() {
            return new Evaluator(context.backend(), context.progress(), context.memory())
                    .evaluate(step.spec(context));
        }
    }
}
