// SPDX-License-Identifier: Apache-2.0
package io.llmc.distill;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import io.llmc.formats.TestFiles;
import io.llmc.formats.UserException;
import io.llmc.formats.checkpoint.Checkpoint;
import io.llmc.formats.checkpoint.TensorReader;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

/// Students whose linear layers are packed: what is dense beside them learns, or adapters do.
@Tag("long")
class PackedStudentTest {
    private static final Path TEACHER = TestFiles.testdata().resolve("tale-llama");
    private static final Map<String, Object> NORMS = Map.of("train", List.of("*norm*"));

    @TempDir Path temp;

    /// Disturbed before it is packed, so that there is much to learn.
    private Path packed(String layout) throws IOException {
        Path student = temp.resolve("student");
        Runs.disturb(TEACHER, temp.resolve("disturbed"));
        Models.pack(temp.resolve("disturbed"), student, layout);
        return student;
    }

    private void run(Path student, Map<String, Object> options, String out) {
        Map<String, Object> more = new LinkedHashMap<>(Map.of("lr", 3e-3));
        more.putAll(options);
        Runs.run(student, TEACHER, more, temp.resolve(out), 2, Integer.MAX_VALUE, Long.MAX_VALUE);
    }

    private double heldOut(String out, String key) throws IOException {
        return Runs.figure(temp.resolve(out), key);
    }

    /// Of the student as it is: the rate is too small to learn anything.
    private double before(Path student) throws IOException {
        run(student, Map.of("train", List.of("*norm*"), "lr", 1e-12, "steps", 1), "still");
        return heldOut("still", "held_out_loss");
    }

    @ParameterizedTest
    @ValueSource(strings = {"compressed-tensors", "gptq"})
    void normsLearnAndPackedTensorsStay(String layout) throws IOException {
        Path student = packed(layout);
        double before = before(student);
        run(student, NORMS, "out");
        assertThat(heldOut("out", "held_out_loss")).isLessThan(0.95 * before);
        assertOnlyNormsChanged(student, temp.resolve("out"));
    }

    /// Scales of all layouts lie under names of their own, and some of them turned.
    @ParameterizedTest
    @ValueSource(strings = {"compressed-tensors", "gptq", "awq"})
    void scalesLearnAndCodesStay(String layout) throws IOException {
        Path student = packed(layout);
        double before = before(student);
        run(student, Map.of("train", List.of("*scale*"), "lr", 1e-2), "out");
        assertThat(heldOut("out", "held_out_loss")).isLessThan(0.9 * before);
        assertOnlyChanged("scale", student, temp.resolve("out"));
    }

    private static void assertOnlyNormsChanged(Path student, Path out) {
        assertOnlyChanged("norm", student, out);
    }

    private static void assertOnlyChanged(String part, Path student, Path out) {
        try (Checkpoint before = Checkpoint.open(student);
                Checkpoint after = Checkpoint.open(out);
                TensorReader old = before.reader();
                TensorReader now = after.reader()) {
            assertThat(after.quantization()).isPresent().isEqualTo(before.quantization());
            assertThat(after.names()).isEqualTo(before.names());
            int changed = 0;
            for (String name : before.names()) {
                boolean same = old.tensor(name).bytes().mismatch(now.tensor(name).bytes()) < 0;
                assertThat(same || name.contains(part)).as(name).isTrue();
                changed += same ? 0 : 1;
            }
            assertThat(changed).isPositive();
        }
    }

    /// As AutoGPTQ left them: config.json says nothing, a file beside it does.
    @Test
    void anOlderGptqDirectoryKeepsItsConfig() throws IOException {
        Path student = packed("gptq");
        ObjectMapper json = new ObjectMapper();
        Path file = student.resolve("config.json");
        ObjectNode config = (ObjectNode) json.readTree(file.toFile());
        json.writeValue(
                student.resolve("quantize_config.json").toFile(),
                config.remove("quantization_config"));
        json.writeValue(file.toFile(), config);
        run(student, Map.of("train", List.of("*norm*"), "steps", 2), "out");
        assertThat(Files.readString(temp.resolve("out/config.json")))
                .contains("quantization_config");
        assertOnlyNormsChanged(student, temp.resolve("out"));
    }

    @ParameterizedTest
    @ValueSource(strings = {"compressed-tensors", "gptq"})
    void adaptersLearnBesidePackedWeights(String layout) throws IOException {
        Path student = packed(layout);
        double before = before(student);
        run(student, Map.of("lora", 8, "adapter", true, "steps", 30), "out");
        assertThat(heldOut("out", "held_out_loss")).isLessThan(0.9 * before);
        assertThat(temp.resolve("out/adapter_model.safetensors")).exists();
        assertThat(temp.resolve("out/config.json")).doesNotExist();
    }

    @Test
    void blocksAreHealedThroughTheirNorms() throws IOException {
        Path student = packed("compressed-tensors");
        run(student, Map.of("train", List.of("*norm*"), "blockwise", true), "out");
        assertThat(heldOut("out", "held_out_error"))
                .isLessThan(0.99 * heldOut("out", "held_out_error_before"));
        assertOnlyNormsChanged(student, temp.resolve("out"));
    }

    @Test
    void blocksAreHealedThroughAdapters() throws IOException {
        Path student = packed("compressed-tensors");
        run(student, Map.of("lora", 8, "adapter", true, "blockwise", true), "out");
        assertThat(heldOut("out", "held_out_error"))
                .isLessThan(0.9 * heldOut("out", "held_out_error_before"));
        // 3 blocks of 7 layers, two matrices each.
        assertThat(Models.matrices(temp.resolve("out/adapter_model.safetensors"))).hasSize(42);
    }

    @ParameterizedTest
    @CsvSource({
        "train=, packed weights do not learn",
        "train=*q_proj*, q_proj.weight",
        "train=*, packed weights do not learn",
        "lora=4, take up no adapters",
        "train=nothing, matches none"
    })
    void whatWouldChangeAPackedWeightIsRefused(String option, String message) throws IOException {
        Path student = packed("compressed-tensors");
        String[] parts = option.split("=", 2);
        Map<String, Object> options =
                switch (parts[0]) {
                    case "lora" -> Map.of("lora", 4);
                    default -> parts[1].isEmpty() ? Map.of() : Map.of("train", List.of(parts[1]));
                };
        assertThatThrownBy(() -> run(student, options, "out"))
                .isInstanceOf(UserException.class)
                .hasMessageContaining(message);
        assertThat(temp.resolve("out")).doesNotExist();
        assertThat(temp.resolve("out.llmc-partial")).doesNotExist();
    }
}
