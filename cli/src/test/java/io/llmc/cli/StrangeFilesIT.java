// SPDX-License-Identifier: Apache-2.0
package io.llmc.cli;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.function.UnaryOperator;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/// Model directories as strangers publish them, by whole commands.
class StrangeFilesIT {
    @TempDir Path dir;

    private BrokenModel model(String name) throws IOException {
        return BrokenModel.copyOf(Cli.TINY_LLAMA, dir.resolve(name));
    }

    private static BrokenModel renamed(BrokenModel model, UnaryOperator<String> name)
            throws IOException {
        return model.header(h -> {
            List<Map.Entry<String, com.fasterxml.jackson.databind.JsonNode>> entries =
                    List.copyOf(h.properties());
            h.removeAll();
            entries.forEach(e ->
                    h.set(
                            e.getKey().equals("__metadata__") ? e.getKey() : name.apply(e.getKey()),
                            e.getValue()));
        });
    }

    private Cli quantized(Path model, Path out) {
        return Cli.run("quantize", model, "-o", out, "--method", "rtn", "--group-size", "32");
    }

    @Test
    void namesOfTrainingToolsAreReadAndNotWritten() throws IOException {
        Path plain = dir.resolve("plain-out");
        assertThat(quantized(model("plain").directory(), plain).exit()).isZero();
        byte[] expected = Files.readAllBytes(plain.resolve("model.safetensors"));
        List<UnaryOperator<String>> writers =
                List.of(
                        n -> "module._orig_mod." + n,
                        n -> "language_model." + n,
                        n -> n.replaceFirst("^model\\.", ""),
                        n -> n.replaceFirst("^model\\.", "model.language_model."));
        for (int i = 0; i < writers.size(); i++) {
            BrokenModel model = renamed(model("model" + i), writers.get(i));
            Path out = dir.resolve("out" + i);
            Cli cli = quantized(model.directory(), out);
            assertThat(cli.exit()).as(cli.err()).isZero();
            assertThat(cli.err()).containsOnlyOnce("is read, and written, as '");
            assertThat(out.resolve("model.safetensors")).hasBinaryContent(expected);
        }
        Cli inspected = Cli.run("inspect", dir.resolve("model0"));
        assertThat(inspected.out()).contains("notes", "module._orig_mod.", "layers");
    }

    /// The embedding tells what the names begin with.
    @Test
    void anyPrefixIsRead() throws IOException {
        BrokenModel model = renamed(model("model"), n -> "student." + n);
        Cli cli = quantized(model.directory(), dir.resolve("out"));
        assertThat(cli.exit()).as(cli.err()).isEqualTo(ExitCode.OK);
        BrokenModel other = renamed(model("other"), n -> n.replaceFirst("^model", "backbone"));
        Cli named = quantized(other.directory(), dir.resolve("out2"));
        assertThat(named.exit()).as(named.err()).isEqualTo(ExitCode.OK);
    }

    @Test
    void namesWithoutAnEmbeddingAreShown() throws IOException {
        BrokenModel model = renamed(model("model"), n -> n.replace("embed_tokens", "words"));
        Cli cli = quantized(model.directory(), dir.resolve("out"));
        assertThat(cli.exit()).isEqualTo(ExitCode.FAILED);
        assertThat(cli.err()).contains("embed_tokens");
        assertThat(dir.resolve("out")).doesNotExist();
    }

    @Test
    void filesOfOtherKindsAreNamed() throws IOException {
        String pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 3\n";
        for (String file : List.of("model.safetensors", "config.json", "tokenizer.json")) {
            BrokenModel model = BrokenModel.copyOf(Cli.TALE_LLAMA, dir.resolve("of-" + file));
            Files.writeString(model.directory().resolve(file), pointer);
            Cli cli =
                    Cli.run(
                            "quantize",
                            model.directory(),
                            "-o",
                            dir.resolve("out"),
                            "--calib-data",
                            Cli.TALE_LLAMA.resolve("calibration.txt"));
            assertThat(cli.exit()).as(cli.err()).isEqualTo(ExitCode.FAILED);
            assertThat(cli.err()).contains(file + ": is a git-lfs pointer", "git lfs pull");
            assertThat(dir.resolve("out")).doesNotExist();
        }
    }
}
