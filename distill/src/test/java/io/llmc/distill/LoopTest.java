// SPDX-License-Identifier: Apache-2.0
package io.llmc.distill;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.catchThrowable;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import io.llmc.distill.training.StepTimes;
import io.llmc.formats.TestFiles;
import io.llmc.formats.UserException;
import io.llmc.pipeline.OutputDirectory;
import io.llmc.pipeline.RecipeException;
import io.llmc.pipeline.Step;
import java.io.IOException;
import java.io.RandomAccessFile;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.atomic.AtomicLong;
import java.util.stream.IntStream;
import java.util.stream.Stream;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

/// When a run saves, when it stops, and what it says then.
@Tag("long")
class LoopTest {
    private static final Path TEACHER = TestFiles.testdata().resolve("tale-llama");
    private static final ObjectMapper JSON = new ObjectMapper();

    @TempDir static Path shared;
    private static Path student;

    @TempDir Path temp;

    @BeforeAll
    static void makeStudent() throws IOException {
        student = shared.resolve("student");
        Runs.disturb(TEACHER, student);
    }

    private Step.Written run(Map<String, Object> more, String out, int stepsBeforeDeath) {
        // Three readings a step: a step takes 20 seconds, and a minute with what follows it.
        AtomicLong seconds = new AtomicLong();
        return Runs.run(
                student,
                TEACHER,
                more,
                temp.resolve(out),
                2,
                stepsBeforeDeath,
                Long.MAX_VALUE,
                () -> seconds.addAndGet(20) * 1_000_000_000L);
    }

    private Path partial(String file) {
        return temp.resolve("out.llmc-partial").resolve(file);
    }

    private List<Integer> timedSteps() throws IOException {
        List<Integer> steps = new ArrayList<>();
        for (String line : Files.readAllLines(temp.resolve("out").resolve(StepTimes.FILE))) {
            JsonNode read = JSON.readTree(line);
            assertThat(read.get("seconds").asDouble()).isEqualTo(20);
            assertThat(read.get("tokens_per_s").asDouble()).isEqualTo(6.4);
            steps.add(read.get("step").asInt());
        }
        return steps;
    }

    /// @param saved step of the last state before the kill
    @ParameterizedTest
    @CsvSource({"false, 7, 6, 12", "true, 4, 3, 18"})
    void theClockDecidesWhenAStateIsSavedAndNothingElse(
            boolean blockwise, int kill, int saved, int last) throws Exception {
        Map<String, Object> options = new HashMap<>(Map.of("blockwise", blockwise));
        options.put("steps", blockwise ? 6 : 12);
        options.put("saveEvery", 1000);
        options.put("saveMinutes", 0);
        run(options, "whole", Integer.MAX_VALUE);

        options.put("saveMinutes", 2.5);
        assertThatThrownBy(() -> run(options, "out", kill)).isInstanceOf(Runs.Killed.class);
        Files.writeString(partial(StepTimes.FILE), "{\"step\":9,\"sec", StandardOpenOption.APPEND);
        Step.Written result = run(options, "out", Integer.MAX_VALUE);

        assertThat(timedSteps())
                .isEqualTo(
                        Stream.concat(
                                        IntStream.rangeClosed(1, kill + 1).boxed(),
                                        IntStream.rangeClosed(saved + 1, last).boxed())
                                .toList());
        Map<String, String> whole = Runs.hashes(temp.resolve("whole"));
        Map<String, String> out = Runs.hashes(temp.resolve("out"));
        for (String file : List.of("model.safetensors", "train-log.jsonl")) {
            assertThat(out.get(file)).as(file).isEqualTo(whole.get(file));
        }
        assertThat(result.values()).containsEntry("tokens_per_second", 6L);
        assertThat(Files.readString(temp.resolve("out/llmc.json")))
                .doesNotContain("tokens_per_second");
    }

    @Test
    void withoutMinutesOnlyStepsAreCounted() {
        Map<String, Object> options = Map.of("saveEvery", 1000, "saveMinutes", 0);
        assertThatThrownBy(() -> run(options, "out", 7)).isInstanceOf(Runs.Killed.class);
        assertThat(partial("train-state.bin")).doesNotExist();
    }

    @Test
    void aRunOutOfPatienceStaysSoAfterAKill() throws Exception {
        // Nothing is learnt, so the second measurement is no better than the first.
        Map<String, Object> options =
                Map.of("lr", 1e-20, "patience", 1, "every", 2, "saveEvery", 1000);
        run(options, "whole", Integer.MAX_VALUE);
        assertThatThrownBy(() -> run(options, "out", Runs.ALL)).isInstanceOf(Runs.Killed.class);
        assertThat(temp.resolve("out")).doesNotExist();
        run(options, "out", Integer.MAX_VALUE);
        assertThat(Runs.hashes(temp.resolve("out"))).isEqualTo(Runs.hashes(temp.resolve("whole")));
        assertThat(timedSteps()).containsExactly(1, 2, 3, 4);
    }

    @Test
    void damagedBestWeightsAreNamed() throws Exception {
        run(Map.of(), "whole", Integer.MAX_VALUE);
        assertThatThrownBy(() -> run(Map.of(), "out", Runs.ALL)).isInstanceOf(Runs.Killed.class);
        Path best = partial("best-weights.bin");
        byte[] bytes = Files.readAllBytes(best);
        bytes[bytes.length / 2] ^= 1;
        Files.write(best, bytes);
        assertThatThrownBy(() -> run(Map.of(), "out", Integer.MAX_VALUE))
                .isInstanceOf(UserException.class)
                .hasMessage(best + ", the weights that did best, is damaged");
        // What the hint says.
        OutputDirectory.deleteTree(temp.resolve("out.llmc-partial"));
        run(Map.of(), "out", Integer.MAX_VALUE);
        assertThat(Runs.hashes(temp.resolve("out"))).isEqualTo(Runs.hashes(temp.resolve("whole")));
    }

    @ParameterizedTest
    @ValueSource(booleans = {false, true})
    void aWeightThatIsNotFiniteIsNamedBeforeAnyStep(boolean blockwise) throws Exception {
        assertThat(refusalOf((short) 0x7fc0, blockwise))
                .contains(SPOILT, "has a NaN or an infinity at element 0");
    }

    /// The weight itself is finite; what it makes is not.
    @ParameterizedTest
    @ValueSource(booleans = {false, true})
    void theTensorThatIsNotFiniteIsNamed(boolean blockwise) throws Exception {
        assertThat(refusalOf((short) 0x7f7f, blockwise))
                .contains(blockwise ? "block 1, step 1: " : "step 1: ", "first, ", "not finite");
    }

    private static final String SPOILT = "model.layers.1.mlp.up_proj.weight";

    /// @param bits of the BF16 in the place of a weight
    private String refusalOf(short bits, boolean blockwise) throws Exception {
        Path broken = temp.resolve("broken");
        Runs.disturb(TEACHER, broken);
        spoil(broken.resolve("model.safetensors"), SPOILT, bits);
        Throwable thrown =
                catchThrowable(() ->
                        Runs.run(
                                broken,
                                TEACHER,
                                Map.of("blockwise", blockwise),
                                temp.resolve("out"),
                                2,
                                Integer.MAX_VALUE,
                                Long.MAX_VALUE));
        assertThat(thrown).isInstanceOf(UserException.class);
        assertThat(temp.resolve("out")).doesNotExist();
        return thrown.getMessage();
    }

    private static void spoil(Path file, String name, short bits) throws IOException {
        try (RandomAccessFile f = new RandomAccessFile(file.toFile(), "rw")) {
            byte[] eight = new byte[8];
            f.readFully(eight);
            long length = ByteBuffer.wrap(eight).order(ByteOrder.LITTLE_ENDIAN).getLong();
            byte[] header = new byte[Math.toIntExact(length)];
            f.readFully(header);
            JsonNode tensor = JSON.readTree(header).get(name);
            assertThat(tensor.get("dtype").asText()).isEqualTo("BF16");
            f.seek(8 + length + tensor.get("data_offsets").get(0).asLong());
            f.write(new byte[] {(byte) bits, (byte) (bits >> 8)});
        }
    }

    @Test
    void aRunThatDivergesKeepsItsLastGoodState() {
        Map<String, Object> options =
                Map.of("lr", 1e6, "clip", 0, "steps", 60, "saveEvery", 1, "holdout", 0);
        String first = refusal(options);
        assertThat(first).startsWith("step ");
        assertThat(partial("train-state.bin")).exists();
        assertThat(refusal(options)).isEqualTo(first);
    }

    private String refusal(Map<String, Object> options) {
        try {
            run(options, "out", Integer.MAX_VALUE);
        } catch (UserException e) {
            assertThat(e.hint()).contains("the last good state is kept");
            return e.getMessage();
        }
        throw new AssertionError("it did not stop");
    }

    @ParameterizedTest
    @CsvSource({
        "holdout, -1",
        "patience, -1",
        "warmup, -1",
        "steps, 0",
        "saveEvery, 0",
        "saveMinutes, -1",
        "saveMinutes, NaN"
    })
    void countsThatMakeNoSenseAreRefused(String key, String value) {
        assertThatThrownBy(() -> run(Map.of(key, value), "out", 1))
                .isInstanceOf(RecipeException.class)
                .hasMessageContaining(key + " is " + value);
    }

    @Test
    void idsThatMeanOtherTokensAreShown() throws IOException {
        Path other = temp.resolve("other");
        Runs.disturb(TEACHER, other);
        Path file = other.resolve("tokenizer.json");
        JsonNode root = JSON.readTree(file.toFile());
        ObjectNode vocab = (ObjectNode) root.at("/model/vocab");
        List<String> names = new ArrayList<>();
        vocab.fieldNames().forEachRemaining(names::add);
        String a = names.get(names.size() - 2);
        String b = names.get(names.size() - 1);
        int idA = vocab.get(a).intValue();
        int idB = vocab.get(b).intValue();
        vocab.put(a, idB).put(b, idA);
        JSON.writeValue(file.toFile(), root);
        assertThatThrownBy(() ->
                        Runs.run(
                                other,
                                TEACHER,
                                Map.of(),
                                temp.resolve("out"),
                                2,
                                Integer.MAX_VALUE,
                                Long.MAX_VALUE))
                .isInstanceOf(UserException.class)
                .hasMessageStartingWith("token ids differ: ")
                .hasMessageContaining(
                        "%d is \"%s\" for the student and \"%s\" for the teacher"
                                .formatted(idA, b, a));
    }
}
