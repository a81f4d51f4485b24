// SPDX-License-Identifier: Apache-2.0
package io.llmc.evaluation.tasks;

import io.llmc.pipeline.Options;
import io.llmc.pipeline.RecipeException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.function.Function;
import java.util.stream.Collectors;

/// A task as its file says it, in the words of lm-eval's task files, so that those of them that
/// need no code can be read as they are.
///
/// @param name null where the file gives none
/// @param data where its items are; null where that is said elsewhere
/// @param metrics that it shows
record TaskSpec(
        String name, Path data, Kind kind, Prompt prompt, Shots shots, List<Metric> metrics) {
    /// Keys of lm-eval that name data on the hub, or say what holds here anyway.
    private static final List<String> WITHOUT_MEANING =
            List.of(
                    "include", // has been read
                    "tag",
                    "task_alias",
                    "group",
                    "dataset_path",
                    "dataset_name",
                    "dataset_kwargs",
                    "training_split",
                    "validation_split",
                    "test_split",
                    "fewshot_split",
                    "should_decontaminate",
                    "doc_to_decontamination_query",
                    "metadata",
                    "repeats");

    /// How an item is written.
    ///
    /// @param text the context; or the index of the right choice, where choices are contexts
    /// @param target the right choice, or the ending, or the document
    /// @param choices null but for multiple choice
    /// @param counted where a document's words and bytes are counted; null for its target
    record Prompt(
            Preparation preparation,
            Field description,
            Field text,
            Field choices,
            Field target,
            Field counted,
            String delimiter) {}

    /// Solved items in front of the one that is asked.
    ///
    /// @param by a field in which they agree with it; null for any
    /// @param data null for the file beside the items
    record Shots(int count, String by, Path data, String delimiter) {}

    /// @param o the file's keys
    /// @throws RecipeException naming the place of what is wrong
    static TaskSpec read(Options o) {
        Kind kind =
                choice(
                        o,
                        "output_type",
                        o.text("outputType", "multiple_choice"),
                        Kind.values(),
                        Kind::label);
        WITHOUT_MEANING.forEach(key -> o.has(Options.camel(key)));
        TaskSpec spec =
                new TaskSpec(
                        o.text("task", null),
                        o.path("data", (Path) null),
                        kind,
                        prompt(o, kind),
                        shots(o),
                        metrics(o, kind));
        o.finish();
        return spec;
    }

    private static Prompt prompt(Options o, Kind kind) {
        Field choices = Field.read(o, "doc_to_choice");
        Field target = Field.read(o, "doc_to_target");
        boolean chooses = kind == Kind.MULTIPLE_CHOICE;
        Field text = Field.read(o, "doc_to_text", kind == Kind.LOGLIKELIHOOD_ROLLING ? "" : null);
        if (target == null || text == null) {
            String missing = target == null ? "doc_to_target" : "doc_to_text";
            throw o.error(Options.camel(missing), missing + " is missing");
        }
        if (chooses != (choices != null)) {
            throw o.error(
                    "docToChoice",
                    chooses
                            ? "doc_to_choice is missing"
                            : "doc_to_choice is for output_type multiple_choice alone");
        }
        return new Prompt(
                choice(
                        o,
                        "process_docs",
                        o.text("processDocs", "none"),
                        Preparation.values(),
                        Preparation::label),
                Field.read(o, "description", ""),
                text,
                choices,
                target,
                Field.read(o, "count_in"),
                o.text("targetDelimiter", " "));
    }

    private static Shots shots(Options o) {
        Options how = o.section("fewshotConfig");
        String sampler = how.text("sampler", "first_n");
        if (!sampler.equals("first_n")) {
            throw how.error(
                    "sampler",
                    "sampler is %s, expected first_n: solved items are the first ones always"
                            .formatted(sampler));
        }
        int count = o.integer("numFewshot", 0);
        if (count < 0) {
            throw o.error("numFewshot", "num_fewshot is %d, expected 0 or more".formatted(count));
        }
        return new Shots(
                count,
                o.text("fewshotBy", null),
                o.path("fewshotData", (Path) null),
                o.text("fewshotDelimiter", "\n\n"));
    }

    private static List<Metric> metrics(Options o, Kind kind) {
        List<Metric> metrics = new ArrayList<>();
        for (Options item : o.sections("metricList")) {
            item.has("aggregation");
            item.has("higherIsBetter");
            Metric[] known = kind.metrics().toArray(Metric[]::new);
            metrics.add(choice(item, "metric", item.text("metric"), known, Metric::label));
        }
        return metrics.isEmpty() ? kind.metrics() : List.copyOf(metrics);
    }

    private static <T> T choice(
            Options o, String key, String value, T[] known, Function<T, String> label) {
        return Arrays.stream(known)
                .filter(one -> label.apply(one).equals(value))
                .findFirst()
                .orElseThrow(() ->
                        o.error(
                                Options.camel(key),
                                "%s is %s, expected one of %s"
                                        .formatted(
                                                key,
                                                value,
                                                Arrays.stream(known)
                                                        .map(label)
                                                        .collect(Collectors.joining(", ")))));
    }

    /// The same with another number of solved items.
    TaskSpec withShots(int count) {
        Shots other = new Shots(count, shots.by, shots.data, shots.delimiter);
        return new TaskSpec(name, data, kind, prompt, other, metrics);
    }
}
