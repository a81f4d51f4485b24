// SPDX-License-Identifier: Apache-2.0
package io.llmc.evaluation.tasks;

import static org.assertj.core.api.Assertions.assertThat;

import com.fasterxml.jackson.databind.JsonNode;
import io.llmc.evaluation.tasks.Question.Request;
import java.io.IOException;
import java.util.List;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/// Contexts and continuations, letter for letter as lm-eval writes them.
class QuestionsOracleTest {
    static Stream<String> names() {
        return TaskOracle.NAMES.stream();
    }

    @ParameterizedTest
    @MethodSource("names")
    void everyItemIsWrittenAsByLmEval(String name) throws IOException {
        TaskOracle oracle = TaskOracle.of(name);
        List<Question> questions = oracle.questions();
        JsonNode items = oracle.result().path("items");
        assertThat(questions).hasSize(items.size()).isNotEmpty();
        for (int i = 0; i < questions.size(); i++) {
            JsonNode item = items.get(i);
            List<Request> wanted =
                    item.path("requests")
                            .valueStream()
                            .map(r ->
                                    new Request(
                                            r.path("context").textValue(),
                                            r.path("continuation").textValue()))
                            .toList();
            assertThat(questions.get(i).requests()).as("item %d", i).isEqualTo(wanted);
            if (questions.get(i).key() instanceof Key.Choice choice) {
                assertThat(choice.right()).isEqualTo(item.path("gold").intValue());
            }
        }
    }

    @Test
    void documentsAreDetokenizedAsByLmEval() throws IOException {
        TaskOracle oracle = TaskOracle.of("wikitext");
        List<Question> questions = oracle.questions();
        JsonNode documents = oracle.result().path("runs").get(0).path("documents");
        assertThat(questions).hasSize(documents.size()).isNotEmpty();
        for (int i = 0; i < questions.size(); i++) {
            JsonNode document = documents.get(i);
            assertThat(questions.get(i).requests().getFirst().continuation())
                    .isEqualTo(document.path("text").textValue());
            assertThat(questions.get(i).key())
                    .isEqualTo(
                            new Key.Document(
                                    document.path("words").longValue(),
                                    document.path("bytes").longValue()));
        }
    }
}
