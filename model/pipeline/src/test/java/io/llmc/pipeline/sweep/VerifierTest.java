// SPDX-License-Identifier: Apache-2.0
package io.llmc.pipeline.sweep;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.llmc.backend.Backend;
import io.llmc.backend.BackendOptions;
import io.llmc.backend.cpu.CpuBackend;
import io.llmc.formats.FormatException;
import io.llmc.formats.TestFiles;
import io.llmc.formats.checkpoint.Checkpoint;
import io.llmc.formats.checkpoint.TensorReader;
import io.llmc.formats.safetensors.CheckpointWriter;
import io.llmc.model.arch.Architectures;
import io.llmc.model.language.LanguageModel;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/// A written model that is not what was in memory is found out, whatever differs.
class VerifierTest {
    @TempDir Path directory;

    private Backend backend;
    private final Map<String, Long> checksums = new LinkedHashMap<>();
    private float[] logits;

    @BeforeEach
    void rememberWhatIsInMemory() throws IOException {
        Path source = TestFiles.testdata().resolve("tiny-llama");
        for (String file : List.of("config.json", "model.safetensors")) {
            Files.copy(source.resolve(file), directory.resolve(file));
        }
        backend = new CpuBackend(BackendOptions.defaults());
        try (Checkpoint c = Checkpoint.open(source);
                TensorReader reader = c.reader();
                LanguageModel model = new LanguageModel(c, Architectures.specOf(c), backend);
                Probe probe = new Probe(model)) {
            c.names().forEach(n -> checksums.put(n, CheckpointWriter.checksum(reader.tensor(n))));
            for (int i = 0; i < model.spec().layers().size(); i++) {
                probe.advance(i);
            }
            logits = probe.logits();
        }
    }

    @AfterEach
    void close() {
        backend.close();
    }

    private int verify() {
        return Verifier.verify(directory, null, checksums, logits, backend);
    }

    @Test
    void theSameModelPasses() {
        assertThat(verify()).isEqualTo(checksums.size());
    }

    @Test
    void oneChangedByteIsNamed() throws IOException {
        Path file = directory.resolve("model.safetensors");
        byte[] bytes = Files.readAllBytes(file);
        bytes[bytes.length - 1] ^= 1;
        Files.write(file, bytes);
        assertThatThrownBy(this::verify)
                .isInstanceOf(FormatException.class)
                .hasMessageContaining("is not what was written");
    }

    @Test
    void aTensorTooFewIsCounted() {
        checksums.put("one.more", 0L);
        assertThatThrownBy(this::verify)
                .isInstanceOf(FormatException.class)
                .hasMessageContaining("tensors and not the " + checksums.size());
    }

    @Test
    void otherLogitsAreNoticedThoughEveryByteIsRight() {
        logits[logits.length / 2] = Math.nextUp(logits[logits.length / 2]);
        assertThatThrownBy(this::verify)
                .isInstanceOf(FormatException.class)
                .hasMessageContaining("other logits");
    }
}
