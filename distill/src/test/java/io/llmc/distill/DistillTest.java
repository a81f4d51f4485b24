// SPDX-License-Identifier: Apache-2.0
package io.llmc.distill;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.data.Percentage.withPercentage;

import io.llmc.formats.TestFiles;
import io.llmc.formats.UserException;
import io.llmc.formats.checkpoint.Checkpoint;
import io.llmc.formats.checkpoint.TensorReader;
import io.llmc.pipeline.RecipeException;
import io.llmc.pipeline.Step;
import io.llmc.tensor.DType;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/// Whole runs over the bundled model: a student whose weights were disturbed learns what it was.
class DistillTest {
    private static final Path TEACHER = TestFiles.testdata().resolve("tale-llama");

    @TempDir static Path shared;
    private static Path student;

    @TempDir Path temp;

    private static Step.Written run(
            Map<String, Object> more, Path out, int threads, int stepsBeforeDeath) {
        return Runs.run(student, TEACHER, more, out, threads, stepsBeforeDeath, Long.MAX_VALUE);
    }

    @BeforeAll
    static void disturb() throws Exception {
        student = shared.resolve("student");
        Runs.disturb(TEACHER, student);
    }

    /// Where a step takes more than writing the student does.
    @Test
    void aSmallerBatchThatFitsIsNamed() {
        Path out = temp.resolve("out");
        Map<String, Object> large = Map.of("batch", 16, "length", 128);
        String hint = "";
        for (long cap = 32 << 20; !hint.contains(" fits") && !Files.exists(out); cap += 1 << 20) {
            try {
                Runs.run(student, TEACHER, large, out, 2, Integer.MAX_VALUE, cap);
            } catch (UserException e) {
                hint = e.hint();
            }
        }
        assertThat(hint).containsPattern("lower the batch: \\{batch} [0-9]+ fits");
    }

    @Test
    void twoHalvesOfABatchGiveTheSameGradientAsTheWhole() throws Exception {
        run(Map.of("steps", 1, "batch", 4), temp.resolve("whole"), 2, Integer.MAX_VALUE);
        Map<String, Object> halves = Map.of("steps", 1, "batch", 2, "accumulate", 2);
        run(halves, temp.resolve("halves"), 2, Integer.MAX_VALUE);
        assertThat(norm("halves")).isCloseTo(norm("whole"), withPercentage(0.01));
    }

    private double norm(String directory) throws IOException {
        String line = Files.readAllLines(temp.resolve(directory + "/train-log.jsonl")).getFirst();
        return Double.parseDouble(line.replaceAll(".*gradient_norm\":([^,}]*).*", "$1"));
    }

    @ParameterizedTest
    @CsvSource({"kl", "reverseKl", "jsd", "ce"})
    void everyLossFalls(String loss) throws Exception {
        Path out = temp.resolve("out");
        // A text so short that three steps are an epoch: the same windows are compared.
        Path text = temp.resolve("text.txt");
        String whole = Files.readString(TEACHER.resolve("calibration.txt"));
        Files.writeString(text, whole.substring(0, 1600));
        Map<String, Object> options = new LinkedHashMap<>();
        options.put(
                "loss", loss.equals("ce") ? Map.of(loss, 1) : Map.of(loss, 1, "temperature", 1.5));
        options.putAll(Map.of("steps", 16, "lr", 3e-4, "holdout", 1, "data", text.toString()));
        run(options, out, 2, Integer.MAX_VALUE);
        List<String> log = Files.readAllLines(out.resolve("train-log.jsonl"));
        double first = (loss(log.get(0)) + loss(log.get(1)) + loss(log.get(2))) / 3;
        double last = (loss(log.get(13)) + loss(log.get(14)) + loss(log.get(15))) / 3;
        assertThat(last).isLessThan(0.9 * first);
    }

    private static double loss(String line) {
        return Double.parseDouble(line.replaceAll(".*\"loss\":([^,}]*).*", "$1"));
    }

    @Test
    void onlyWhatAGlobNamesIsTrained() throws Exception {
        Path out = temp.resolve("out");
        run(Map.of("train", List.of("*norm*")), out, 2, Integer.MAX_VALUE);
        try (Checkpoint before = Checkpoint.open(student);
                Checkpoint after = Checkpoint.open(out);
                TensorReader old = before.reader();
                TensorReader now = after.reader()) {
            int changed = 0;
            for (String name : before.names()) {
                assertThat(after.info(name)).isEqualTo(before.info(name));
                boolean same = old.tensor(name).bytes().mismatch(now.tensor(name).bytes()) < 0;
                assertThat(same || name.contains("norm")).as(name).isTrue();
                changed += same ? 0 : 1;
            }
            assertThat(changed).isPositive();
            assertThat(after.info(before.names().iterator().next()).dtype()).isEqualTo(DType.BF16);
        }
    }

    @Test
    void adaptersAreMergedIntoTheirLayersAlone() throws Exception {
        Path out = temp.resolve("out");
        Map<String, Object> lora =
                Map.of("lora", 4, "loraTargets", List.of("q_proj", "down_proj"), "lr", 3e-3);
        run(lora, out, 2, Integer.MAX_VALUE);
        int changed = 0;
        try (Checkpoint before = Checkpoint.open(student);
                Checkpoint after = Checkpoint.open(out);
                TensorReader old = before.reader();
                TensorReader now = after.reader()) {
            assertThat(after.names()).isEqualTo(before.names());
            for (String name : before.names()) {
                boolean same = old.tensor(name).bytes().mismatch(now.tensor(name).bytes()) < 0;
                boolean target = name.contains("q_proj") || name.contains("down_proj");
                assertThat(same).as(name).isNotEqualTo(target);
                changed += same ? 0 : 1;
            }
        }
        assertThat(changed).isEqualTo(6);
        double held = Runs.figure(out, "held_out_loss");
        assertThat(held).isLessThan(heldOutOfTheStudent());
    }

    /// With a rate so small that nothing is learnt.
    private double heldOutOfTheStudent() throws Exception {
        Path out = temp.resolve("still");
        run(Map.of("lr", 1e-12, "steps", 1), out, 2, Integer.MAX_VALUE);
        return Runs.figure(out, "held_out_loss");
    }

    @Test
    void badInputIsOneSentence() {
        refused(Map.of("train", List.of("nothing.like.this")), "matches none");
        refused(Map.of("lora", 2, "loraTargets", List.of("nothing")), "matches none");
        refused(Map.of("length", 4096), "longer than the 1,024 positions");
        refused(Map.of("length", 1024, "holdout", 100_000), "are held out");
        refused(Map.of("data", "nowhere.txt"), "no such file");
        refused(Map.of("lr", 1e6, "clip", 0, "steps", 60), "lower {lr}");
        assertThatThrownBy(() -> run(Map.of("optimizer", "sgd"), temp.resolve("x"), 2, 1))
                .isInstanceOf(RecipeException.class)
                .hasMessageContaining("one of adamw, adamw8bit");
        assertThatThrownBy(() -> run(Map.of("lr", -1), temp.resolve("x"), 2, 1))
                .isInstanceOf(RecipeException.class)
                .hasMessageContaining("expected above 0");
    }

    private void refused(Map<String, Object> options, String message) {
        assertThatThrownBy(() -> run(options, temp.resolve("refused"), 2, Integer.MAX_VALUE))
                .isInstanceOf(UserException.class)
                .satisfies(e ->
                        assertThat(e.getMessage() + " " + ((UserException) e).hint())
                                .contains(message));
        assertThat(temp.resolve("refused")).doesNotExist();
    }
}
