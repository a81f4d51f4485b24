// SPDX-License-Identifier: Apache-2.0
package io.llmc.distill;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.data.Percentage.withPercentage;

import io.llmc.formats.TestFiles;
import io.llmc.formats.UserException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/// Neither threads nor deaths nor caps of memory change a byte of what a run makes.
class SameBytesTest {
    private static final Path TEACHER = TestFiles.testdata().resolve("tale-llama");

    @TempDir static Path shared;
    private static Path student;
    private static Map<String, String> undisturbed;

    @TempDir Path temp;

    private static void run(Map<String, Object> more, Path out, int threads, int stepsBeforeDeath) {
        run(more, out, threads, stepsBeforeDeath, Long.MAX_VALUE);
    }

    private static void run(
            Map<String, Object> more, Path out, int threads, int stepsBeforeDeath, long memory) {
        // Short ones: there are many of them.
        Map<String, Object> options = new LinkedHashMap<>();
        options.put("steps", 8);
        options.put("data", shared.resolve("text.txt").toString());
        options.putAll(more);
        Runs.run(student, TEACHER, options, out, threads, stepsBeforeDeath, memory);
    }

    @BeforeAll
    static void runUndisturbed() throws Exception {
        student = shared.resolve("student");
        Runs.disturb(TEACHER, student);
        String text = Files.readString(TEACHER.resolve("calibration.txt"));
        Files.writeString(shared.resolve("text.txt"), text.substring(0, 20_000));
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
        mix.put("mix", List.of(shared.resolve("text.txt") + ":2", lines + ":1"));
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
        assertThat(Runs.figure(out, "held_out_loss"))
                .isCloseTo(Runs.figure(shared.resolve("out"), "held_out_loss"), withPercentage(3));
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
                run(Map.of(), out, 2, Integer.MAX_VALUE, cap);
            } catch (UserException e) {
                hint = e.hint();
            }
        }
        assertThat(hint).contains("train less at a time");
        assertThat(Runs.hashes(out)).isEqualTo(undisturbed);
    }
}
