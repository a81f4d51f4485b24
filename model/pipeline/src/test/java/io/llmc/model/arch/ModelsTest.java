// SPDX-License-Identifier: Apache-2.0
package io.llmc.model.arch;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import com.fasterxml.jackson.databind.node.ObjectNode;
import com.fasterxml.jackson.databind.node.TextNode;
import io.llmc.backend.Backend;
import io.llmc.backend.BackendOptions;
import io.llmc.backend.cpu.CpuBackend;
import io.llmc.formats.HfConfig;
import io.llmc.formats.TestFiles;
import io.llmc.formats.UserException;
import io.llmc.formats.checkpoint.Checkpoint;
import io.llmc.model.ModelSpec;
import io.llmc.model.TensorTable;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/// Models of a type that llmc does not know, and that are one that it knows in all but name.
class ModelsTest {
    /// Whose configs hold nothing that their families do not read.
    private static final Set<String> PLAIN =
            Set.of("tiny-llama", "tiny-mixtral", "tiny-phi3", "tiny-qwen3", "tiny-gemma3_text");

    private static final String OTHER = "unheard_of";

    private static final Tiny LLAMA = new Tiny("tiny-llama");

    @TempDir Path temp;
    private int written;

    static Stream<Path> texts() {
        return Stream.concat(
                        TestFiles.directories(TestFiles.testdata(), "tiny-"),
                        TestFiles.directories(TestFiles.shared("oracles/architectures"), ""))
                .filter(ModelsTest::isKnownText);
    }

    private static boolean isKnownText(Path directory) {
        HfConfig config = HfConfig.read(directory.resolve("config.json"));
        return !config.multimodal() && Architectures.modelTypes().contains(config.modelType());
    }

    /// What is refused for keys alone fits without them, and is the same model.
    @ParameterizedTest
    @MethodSource("texts")
    void everyFamilyFitsUnderAnotherName(Path directory) throws IOException {
        HfConfig config = HfConfig.read(directory.resolve("config.json"));
        Path model = copied(directory, config);
        Models models = new Models(model, config.modelType());
        List<String> unread = unreadKeys(models);
        if (PLAIN.contains(directory.getFileName().toString())) {
            assertThat(unread).isEmpty();
        }
        for (String key : unread) {
            config = without(config, key);
        }
        copied(directory, config);
        if (hasMore(directory)) {
            assertThatThrownBy(() -> models.open(model, _ -> {}).close())
                    .isInstanceOf(UserException.class)
                    .hasMessageContaining("does not read the tensor '");
            return;
        }
        List<String> notes = new ArrayList<>();
        try (Checkpoint known = ModelDirectory.open(directory, _ -> {});
                Checkpoint other = models.open(model, notes::add)) {
            assertThat(Architectures.specOf(other)).isEqualTo(Architectures.specOf(known));
            assertThat(other.names()).isEqualTo(known.names());
            assertThat(other.config().json().path("model_type").asText()).isEqualTo(OTHER);
        }
        assertThat(notes).anyMatch(n -> n.contains("unheard_of is not known"));
    }

    /// Whether there are tensors that the family does not read, other than a copy of the embedding:
    /// layers behind the last block, which predict further tokens, or keys of layers that borrow
    /// them.
    private static boolean hasMore(Path directory) {
        try (Checkpoint c = ModelDirectory.open(directory, _ -> {})) {
            ModelSpec spec = Architectures.specOf(c);
            return new TensorTable(spec, Architectures.of(c.config()))
                    .unread(c).stream().anyMatch(name -> !name.equals("lm_head.weight"));
        }
    }

    private static HfConfig without(HfConfig config, String path) {
        int dot = path.indexOf('.');
        if (dot < 0) {
            return config.with(path, null);
        }
        String section = path.substring(0, dot);
        ObjectNode rest = config.json().withObject("/" + section);
        rest.remove(path.substring(dot + 1));
        return config.with(section, rest.isEmpty() ? null : rest);
    }

    /// Empty where the model fits.
    private static List<String> unreadKeys(Models models) {
        try (Checkpoint _ = models.open(models.main(), _ -> {})) {
            return List.of();
        } catch (UserException e) {
            assertThat(e).hasMessageContaining(": it does not read ");
            if (e.getMessage().contains(" the tensor '")) {
                return List.of();
            }
            String keys = e.getMessage().substring(e.getMessage().indexOf("does not read '") + 14);
            return Arrays.stream(keys.split(", ")).map(key -> key.replace("'", "")).toList();
        }
    }

    @Test
    void aLlamaUnderAnotherNameHasItsLogits() throws IOException {
        Path model = write(LLAMA.config(), Map.of(), Set.of());
        try (Backend backend = new CpuBackend(new BackendOptions(1, BackendOptions.Math.PORTABLE));
                Checkpoint known = ModelDirectory.open(LLAMA.source(), _ -> {});
                Checkpoint c = new Models(model, "llama").open(model, _ -> {})) {
            assertThat(Tiny.lastLogits(c, LLAMA.ids(), backend))
                    .isEqualTo(Tiny.lastLogits(known, LLAMA.ids(), backend));
        }
    }

    @Test
    void withoutTheWordItIsUnknown() throws IOException {
        Path model = write(LLAMA.config(), Map.of(), Set.of());
        assertThatThrownBy(() -> ModelDirectory.open(model, _ -> {}))
                .isInstanceOf(UserException.class)
                .hasMessageContaining("\"unheard_of\" is not known");
    }

    @Test
    void whatIsLeftOverIsNamed() throws IOException {
        String tensor = "model.layers.0.self_attn.sinks";
        assertRefused(write(LLAMA.config(), Map.of(tensor, new long[] {4}), Set.of()), tensor);
        String norm = "model.layers.1.input_layernorm.weight";
        assertRefused(write(LLAMA.config(), Map.of(), Set.of(norm)), norm);
        assertRefused(write(LLAMA.config(), Map.of(norm, new long[] {3}), Set.of()), norm);
        ObjectNode config = LLAMA.config();
        config.put("logit_scale", 0.5);
        assertRefused(write(config, Map.of(), Set.of()), "'logit_scale'");
        ObjectNode nested = LLAMA.config();
        nested.putObject("rope_scaling").put("rope_type", "linear").put("factor", 2).put("warp", 1);
        assertRefused(write(nested, Map.of(), Set.of()), "'rope_scaling.warp'");
    }

    @Test
    void whatIsKnownIsNothingElse() {
        Path model = LLAMA.source();
        assertThatThrownBy(() -> new Models(model, "qwen3").open(model, _ -> {}))
                .isInstanceOf(UserException.class)
                .hasMessageContaining("is a llama, which llmc knows, and no qwen3");
        assertThatThrownBy(() -> new Models(model, "lama"))
                .isInstanceOf(UserException.class)
                .hasMessageContaining("\"lama\"");
        try (Checkpoint c = new Models(Path.of("another"), "qwen3").open(model, _ -> {})) {
            assertThat(c.config().treatedAs()).isEmpty();
        }
    }

    private static void assertRefused(Path model, String named) {
        assertThatThrownBy(() -> new Models(model, "llama").open(model, _ -> {}).close())
                .isInstanceOf(UserException.class)
                .hasMessageContaining("a unheard_of cannot be treated as llama")
                .hasMessageContaining(named);
    }

    private Path write(ObjectNode config, Map<String, long[]> more, Set<String> without)
            throws IOException {
        config.put("model_type", OTHER);
        return LLAMA.write(temp.resolve("written" + written++), config, more, without);
    }

    /// The same files, but for the name in config.json.
    private Path copied(Path directory, HfConfig config) throws IOException {
        Path model = Files.createDirectories(temp.resolve("copied"));
        try (Stream<Path> files = Files.list(directory)) {
            for (Path file : files.filter(f -> f.toString().contains("/model")).toList()) {
                Files.copy(
                        file,
                        model.resolve(file.getFileName()),
                        StandardCopyOption.REPLACE_EXISTING);
            }
        }
        config.with("model_type", TextNode.valueOf(OTHER)).write(model.resolve("config.json"));
        return model;
    }
}
