// SPDX-License-Identifier: Apache-2.0
package io.llmc.evaluation.tasks;

import static org.junit.jupiter.api.Assumptions.assumeTrue;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import io.llmc.cli.TaskFiles;
import io.llmc.formats.TestFiles;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;

/// What lm-eval made of a task: the requests of every item, and figures of SmolLM2-135M-Instruct.
record TaskOracle(Task task, JsonNode result) {
    private static final Path FOLDER = TestFiles.shared("oracles/tasks");
    private static final String SHOTS = "_5shot";

    static final List<String> NAMES =
            List.of(
                    "arc_challenge",
                    "arc_easy",
                    "boolq",
                    "hellaswag",
                    "lambada_openai",
                    "mmlu_abstract_algebra",
                    "mmlu_college_biology",
                    "mmlu_college_biology_5shot",
                    "mmlu_high_school_physics",
                    "openbookqa",
                    "piqa",
                    "winogrande");

    static TaskOracle of(String name) throws IOException {
        assumeTrue(Files.exists(FOLDER), "no oracles beside the checkout");
        boolean shown = name.endsWith(SHOTS);
        String stem = shown ? name.substring(0, name.length() - SHOTS.length()) : name;
        TaskName file = TaskName.of(FOLDER.resolve("data").resolve(stem + ".jsonl").toString());
        return new TaskOracle(
                TaskFiles.library().load(file, shown ? 5 : -1, 0),
                new ObjectMapper()
                        .readTree(FOLDER.resolve("results").resolve(name + ".json").toFile()));
    }

    /// Of every item.
    List<Question> questions() {
        Questions questions = task.questions();
        return task.items().stream().map(questions::of).toList();
    }

    /// Of every item's requests, in order.
    List<JsonNode> requests() {
        List<JsonNode> all = new ArrayList<>();
        result.path("items").forEach(item -> item.path("requests").forEach(all::add));
        return all;
    }
}
