// SPDX-License-Identifier: Apache-2.0
package io.llmc.distill;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

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
import org.junit.jupiter.params.provider.ValueSource;

/// Whole runs over the bundled model: a student whose weights were disturbed learns what it was.
class DistillTest {
    private static final Path TEACHER = TestFiles.testdata().resolve("tale-llama");

    @TempDir static Path shared;
    private static Path student;
    private static Map<String, String> undisturbed;

    @TempDir Path temp;

    private static Step.Written run(
            Map<String, Object> more, Path out, int threads, int stepsBeforeDeath) {
        return Runs.run(student, TEACHER, more, out, threads, stepsBeforeDeath, Long.MAX_VALUE);
    }

    @BeforeAll
    static void runUndisturbed() throws Exception {
        student = shared.resolve("student");
        Runs.disturb(TEACHER, student);
        Path out = shared.resolve("out");
        run(Map.of(), out, 2, Integer.MAX_VALUE);
        undisturbed = Runs.hashes(out);
        assertThat(undisturbed)
                .containsKeys("model.safetensors", "config.json", "llmc.json", "train-log.jsonl");
    }

    @ParameterizedTest
    @ValueSource(ints = {1, 3})
    void threadsDoNotChangeABit(int threads) throws Exception {
        Path out = temp.resolve("out");
        run(Map.of(), out, threads, Integer.MAX_VALUE);
        assertThat(Runs.hashes(out)).isEqualTo(undisturbed);
    }

    @ParameterizedTest
    @ValueSource(ints = {3, 5})
    void aKilledRunEndsInTheSameBytes(int steps) throws Exception {
        Path out = temp.resolve("out");
        assertThatThrownBy(() -> run(Map.of(), out, 2, steps)).isInstanceOf(Runs.Killed.class);
        assertThat(out).doesNotExist();
        run(Map.of(), out, 2, Integer.MAX_VALUE);
        assertThat(Runs.hashes(out)).isEqualTo(undisturbed);
    }

    @Test
    void aKilledRunOverAMixEndsInTheSameBytes() throws Exception {
        Path lines = temp.resolve("b.jsonl");
        String text = Files.readString(TEACHER.resolve("test.txt")).substring(0, 4000);
        Files.writeString(
                lines, "{\"text\": \"%s\"}".formatted(text.replace("\n", "\\n").replace("\"", "")));
        Map<String, Object> mix = new LinkedHashMap<>();
        mix.put("data", null);
        mix.put("mix", List.of(TEACHER.resolve("calibration.txt") + ":2", lines + ":1"));
        run(mix, temp.resolve("whole"), 2, Integer.MAX_VALUE);
        assertThatThrownBy(() -> run(mix, temp.resolve("out"), 2, 5))
                .isInstanceOf(Runs.Killed.class);
        run(mix, temp.resolve("out"), 2, Integer.MAX_VALUE);
        assertThat(Runs.hashes(temp.resolve("out"))).isEqualTo(Runs.hashes(temp.resolve("whole")));
        assertThat(Runs.hashes(temp.resolve("out")).get("model.safetensors"))
                .isNotEqualTo(undisturbed.get("model.safetensors"));
    }

    @Test
    void eightBitsSurviveKillsAndThreads() throws Exception {
        Map<String, Object> eight = Map.of("optimizer", "adamw8bit");
        run(eight, temp.resolve("whole"), 2, Integer.MAX_VALUE);
        Path out = temp.resolve("out");
        assertThatThrownBy(() -> run(eight, out, 1, 7)).isInstanceOf(Runs.Killed.class);
        run(eight, out, 3, Integer.MAX_VALUE);
        assertThat(Runs.hashes(out)).isEqualTo(Runs.hashes(temp.resolve("whole")));
        assertThat(Runs.hashes(out).get("model.safetensors"))
                .isNotEqualTo(undisturbed.get("model.safetensors"));
        assertThat(heldOut(out)).isCloseTo(heldOut(shared.resolve("out")), percent(3));
    }

    @Test
    void aStateThatIsNotWholeIsNotUsed() throws Exception {
        Path out = temp.resolve("out");
        assertThatThrownBy(() -> run(Map.of(), out, 2, 7)).isInstanceOf(Runs.Killed.class);
        Path state = temp.resolve("out.llmc-partial/train-state.bin");
        byte[] bytes = Files.readAllBytes(state);
        bytes[bytes.length / 2] ^= 1;
        Files.write(state, bytes);
        run(Map.of(), out, 2, Integer.MAX_VALUE);
        assertThat(Runs.hashes(out)).isEqualTo(undisturbed);
    }

    @Test
    void checkpointedBlocksGiveTheSameBytes() throws Exception {
        Path out = temp.resolve("out");
        run(Map.of("checkpointBlocks", true), out, 2, Integer.MAX_VALUE);
        assertThat(Runs.hashes(out).get("model.safetensors"))
                .isEqualTo(undisturbed.get("model.safetensors"));
        assertThat(Runs.hashes(out).get("train-log.jsonl"))
                .isEqualTo(undisturbed.get("train-log.jsonl"));
    }

    /// Under the least cap that is enough, blocks run twice.
    @Test
    void aMemoryCapChangesNoByte() throws Exception {
        Path out = temp.resolve("out");
        String hint = "";
        for (long cap = 8 << 20; !Files.exists(out); cap += 1 << 20) {
            try {
                Runs.run(student, TEACHER, Map.of(), out, 2, Integer.MAX_VALUE, cap);
            } catch (UserException e) {
                hint = e.hint();
            }
        }
        assertThat(hint).contains("train less at a time");
        assertThat(Runs.hashes(out)).isEqualTo(undisturbed);
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
        assertThat(norm("halves")).isCloseTo(norm("whole"), percent(0.01));
    }

    private static org.assertj.core.data.Percentage percent(double p) {
        return org.assertj.core.data.Percentage.withPercentage(p);
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
        double held = heldOut(out);
        assertThat(held).isLessThan(heldOutOfTheStudent());
    }

    private static double heldOut(Path out) throws IOException {
        String json = Files.readString(out.resolve("llmc.json"));
        return Double.parseDouble(json.replaceAll("(?s).*\"held_out_loss\" : ([^,}\\s]*).*", "$1"));
    }

    /// With a rate so small that nothing is learnt.
    private double heldOutOfTheStudent() throws Exception {
        Path out = temp.resolve("still");
        run(Map.of("lr", 1e-12, "steps", 1), out, 2, Integer.MAX_VALUE);
        return heldOut(out);
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
