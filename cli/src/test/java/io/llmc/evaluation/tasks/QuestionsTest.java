// SPDX-License-Identifier: Apache-2.0
package io.llmc.evaluation.tasks;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.llmc.cli.TaskFiles;
import io.llmc.evaluation.tasks.Question.Request;
import io.llmc.formats.FormatException;
import io.llmc.formats.UserException;
import io.llmc.pipeline.RecipeException;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/// Items of users' own tasks, and of files that are not right.
class QuestionsTest {
    private static final String CHOICE =
            """
            doc_to_text: "Q: {{q}}"
            doc_to_choice: answers
            doc_to_target: right
            """;

    @TempDir private Path dir;

    private Path file(String name, String text) throws IOException {
        return Files.writeString(dir.resolve(name), text);
    }

    private Task task(String yaml, String items) throws IOException {
        Path task = file("own.yaml", yaml);
        Path data = file("own.jsonl", items.replace('\'', '"'));
        return TaskFiles.library().load(TaskName.of(task + "=" + data), -1, 0);
    }

    private static Question first(Task task) {
        return task.questions().of(task.items().getFirst());
    }

    @Test
    void anItemIsItsChoices() throws IOException {
        Question question =
                first(task(CHOICE, "{'q': 'how', 'answers': ['so', 'thus 😀'], 'right': 1}"));
        assertThat(question.requests())
                .containsExactly(new Request("Q: how", " so"), new Request("Q: how", " thus 😀"));
        assertThat(question.key())
                .isInstanceOfSatisfying(
                        Key.Choice.class,
                        key -> {
                            assertThat(key.right()).isEqualTo(1);
                            assertThat(key.lengths()).containsExactly(2, 6);
                        });
    }

    @Test
    void theRightChoiceMayBeNamedByItsWords() throws IOException {
        Task task =
                task(
                        """
                        task: letters
                        doc_to_text: "{{q}}"
                        doc_to_choice: [A, B]
                        doc_to_target: key
                        target_delimiter: ": "
                        """,
                        "{'q': 'how', 'key': 'B'}");
        assertThat(task.name()).isEqualTo("letters");
        assertThat(first(task).requests().getLast()).isEqualTo(new Request("how", ": B"));
        assertThat(((Key.Choice) first(task).key()).right()).isEqualTo(1);
    }

    @Test
    void solvedItemsAgreeWithTheOneThatIsAsked() throws IOException {
        Path data =
                file(
                        "mmlu_all.jsonl",
                        mmlu("tree", "a_b", 1) + mmlu("sea", "c", 0) + mmlu("sun", "a_b", 3));
        file(
                "mmlu_all.dev.jsonl",
                mmlu("one", "c", 2) + mmlu("two", "a_b", 3) + mmlu("three", "a_b", 0));
        TaskName name = TaskName.of(data.toString());
        Task task = TaskFiles.library().load(name, 1, 2);
        assertThat(task.items()).hasSize(2);
        assertThat(first(task).requests().get(2))
                .isEqualTo(
                        new Request(
                                "The following are multiple choice questions (with answers) about"
                                        + " a b.\n\ntwo\nA. w\nB. x\nC. y\nD. z\nAnswer: D\n\n"
                                        + "tree\nA. w\nB. x\nC. y\nD. z\nAnswer:",
                                " C"));
        assertThat(task.questions().of(task.items().get(1)).requests().getFirst().context())
                .contains("about c.\n\none\n");
        Task two = TaskFiles.library().load(name, 2, 0);
        assertThatThrownBy(() -> two.questions().of(two.items().get(1)))
                .isInstanceOf(UserException.class)
                .hasMessageContaining("mmlu_all.dev.jsonl has 1 items whose subject is c, but 2");
    }

    private static String mmlu(String question, String subject, int answer) {
        return "{\"question\": \"%s\", \"subject\": \"%s\", \"choices\": [\"w\", \"x\", \"y\", \"z\"], \"answer\": %d}\n"
                .formatted(question, subject, answer);
    }

    @Test
    void partialScoringHasSolvedItemsToo() throws IOException {
        String item =
                "{'sentence': 'The _ is %s .', 'option1': 'cat', 'option2': 'dog', 'answer':"
                        + " '2'}\n";
        Path data = file("winogrande.jsonl", item.formatted("old").replace('\'', '"'));
        file("winogrande.dev.jsonl", item.formatted("new").replace('\'', '"'));
        Task task = TaskFiles.library().load(TaskName.of(data.toString()), 1, 0);
        assertThat(first(task).requests())
                .containsExactly(
                        new Request("The dog is new .\n\nThe cat", " is old ."),
                        new Request("The dog is new .\n\nThe dog", " is old ."));
    }

    /// Both published forms.
    @ParameterizedTest
    @CsvSource(
            quoteCharacter = '`',
            value = {"'label': 1, 1", "'answer': true, 1", "'answer': false, 0"})
    void boolqSaysYesInTwoWays(String field, int right) throws IOException {
        String item = "{'passage': 'p', 'question': 'q', %s}".formatted(field).replace('\'', '"');
        Path data = file("boolq.jsonl", item);
        Task task = TaskFiles.library().load(TaskName.of(data.toString()), -1, 0);
        assertThat(((Key.Choice) first(task).key()).right()).isEqualTo(right);
    }

    @ParameterizedTest
    @CsvSource(
            delimiter = '|',
            quoteCharacter = '`',
            value = {
                "{'q': 'x', 'answers': ['a'], 'right': 1} | line 1: doc_to_target gives 1, expected the number of a choice, 0 to 0",
                "{'q': 'x', 'answers': ['a'], 'right': -1} | gives -1",
                "{'q': 'x', 'answers': ['a'], 'right': null} | gives null",
                "{'q': 'x', 'answers': ['a'], 'right': 'b'} | gives \"b\"",
                "{'answers': ['a'], 'right': 0} | line 1: doc_to_text: q is undefined; the item has answers, right",
                "{'q': 'x', 'answers': [], 'right': 0} | doc_to_choice gives no list of texts, but []",
                "{'q': 'x', 'answers': [1, 2], 'right': 0} | doc_to_choice gives no list of texts",
                "{'q': 'x', 'right': 0} | doc_to_choice gives no list of texts, but answers",
                "{'q': 'x', 'answers': ['a'], 'right': 0 | line 1: not valid JSON",
                "[1, 2] | expected an array of JSON objects",
                "7 | line 1: expected a JSON object",
                "null | line 1: expected a JSON object",
                "{'q': '\\ud800', 'answers': ['a'], 'right': 0} | line 1: a text holds half of a surrogate pair",
            })
    void whatAnItemLacksIsNamed(String item, String message) throws IOException {
        assertThatThrownBy(() -> first(task(CHOICE, item)))
                .isInstanceOf(FormatException.class)
                .hasMessageContaining("own.jsonl: ")
                .hasMessageContaining(message);
    }

    @Test
    void aLineIsNamedBehindEmptyOnes() throws IOException {
        Task task = task(CHOICE, "{'q': 'x', 'answers': ['a'], 'right': 0}\n\n{'q': 'x'}\n");
        assertThat(task.items()).hasSize(2);
        assertThatThrownBy(() -> task.questions().of(task.items().get(1)))
                .hasMessageContaining("own.jsonl: line 3: ");
    }

    @Test
    void anArrayIsReadToo() throws IOException {
        Task task = task(CHOICE, "[{'q': 'x', 'answers': ['a'], 'right': 0},\n {'q': 'y'}]");
        assertThat(first(task).requests()).containsExactly(new Request("Q: x", " a"));
        assertThatThrownBy(() -> task.questions().of(task.items().get(1)))
                .hasMessageContaining("item 2: ");
    }

    @Test
    void anEmptyFileIsNoTask() {
        assertThatThrownBy(() -> task(CHOICE, "\n \n"))
                .isInstanceOf(UserException.class)
                .hasMessageContaining("own.jsonl: holds no item");
    }

    @ParameterizedTest
    @CsvSource(
            delimiter = '|',
            quoteCharacter = '`',
            value = {
                "doc_to_text: x | own.yaml: doc_to_target is missing",
                "doc_to_target: x | doc_to_text is missing",
                "{doc_to_text: x, doc_to_target: x} | doc_to_choice is missing",
                "{output_type: loglikelihood, doc_to_text: x, doc_to_choice: [a], doc_to_target: x} | doc_to_choice is for output_type multiple_choice alone",
                "{output_type: generate_until, doc_to_target: x} | own.yaml:1: output_type is generate_until, expected one of multiple_choice, loglikelihood, loglikelihood_rolling",
                "{doc_to_text: x, doc_to_txt: x, doc_to_choice: [a], doc_to_target: x} | own.yaml:1: unknown key docToTxt; did you mean docToText?",
                "{doc_to_text: '{{', doc_to_choice: [a], doc_to_target: x} | doc_to_text is no template: line 1: ",
                "{doc_to_text: x, doc_to_choice: [a], doc_to_target: x, metric_list: [{metric: f1}]} | metric is f1, expected one of acc, acc_norm",
                "{doc_to_text: x, doc_to_choice: [a], doc_to_target: x, process_docs: mine} | process_docs is mine, expected one of none, hellaswag, wikitext",
                "{doc_to_text: !function a.b, doc_to_choice: [a], doc_to_target: x} | own.yaml:1: !function a.b is no plain value",
                "{doc_to_text: x, doc_to_choice: [a], doc_to_target: x, num_fewshot: -1} | num_fewshot is -1, expected 0 or more",
                "{doc_to_text: x, doc_to_choice: [a], doc_to_target: x, fewshot_config: {sampler: random}} | sampler is random, expected first_n",
                "[a] | own.yaml: holds no keys",
            })
    void whatATaskLacksIsNamed(String yaml, String message) {
        assertThatThrownBy(() -> task(yaml, "{}"))
                .isInstanceOf(RecipeException.class)
                .hasMessageContaining(message);
    }

    @Test
    void everyBuiltInTaskIsRight() throws IOException {
        for (String name : BuiltInTasks.NAMES) {
            Task task =
                    TaskFiles.library()
                            .load(TaskName.of(name + "=" + file("any.jsonl", "{}")), -1, 0);
            assertThat(task.name()).isEqualTo(name);
            assertThat(task.spec().metrics()).isNotEmpty();
            assertThatThrownBy(() -> first(task))
                    .as(name)
                    .isInstanceOf(FormatException.class)
                    .hasMessageContaining("line 1: ");
        }
    }

    @Test
    void aNameSaysWhichTaskAFileHolds() throws IOException {
        assertThat(TaskName.of("a/ARC-Easy_test.jsonl").task()).isEqualTo("arc");
        assertThat(TaskName.of("mmlu.anatomy.json").name()).isEqualTo("mmlu.anatomy");
        assertThat(TaskName.of("piqa").task()).isEqualTo("piqa");
        assertThat(TaskName.of("boolq=x.json").name()).isEqualTo("boolq");
        assertThat(TaskName.of("a/my.yaml=x.json").name()).isEqualTo("my");
        assertThatThrownBy(() -> TaskName.of("piqas.jsonl"))
                .isInstanceOf(UserException.class)
                .hasMessage(
                        "piqas.jsonl: its name begins with that of no task; did you mean piqa?");
        assertThatThrownBy(() -> TaskName.of("arcs=x.jsonl"))
                .hasMessage("arcs=x.jsonl: there is no task arcs; did you mean arc?");
        assertThatThrownBy(() -> TaskName.of("data.jsonl"))
                .hasMessageContaining("known: arc, boolq");
        Path own = file("x.yaml", CHOICE);
        assertThatThrownBy(() -> TaskFiles.library().load(TaskName.of(own.toString()), -1, 0))
                .isInstanceOf(UserException.class)
                .hasMessageContaining("x.yaml: names no data");
        file("x.jsonl", "{}");
        Path named = file("y.yaml", CHOICE + "data: x.jsonl\n");
        assertThat(TaskFiles.library().load(TaskName.of(named.toString()), -1, 0).items())
                .extracting(Doc::fields)
                .isEqualTo(List.of(java.util.Map.of()));
        assertThatThrownBy(() -> TaskFiles.library().load(TaskName.of(named.toString()), 2, 0))
                .isInstanceOf(UserException.class)
                .hasMessageContaining("but there is no x.dev.jsonl");
    }
}
