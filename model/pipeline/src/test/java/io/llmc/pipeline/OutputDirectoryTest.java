// SPDX-License-Identifier: Apache-2.0
package io.llmc.pipeline;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.llmc.formats.UserException;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/// An output gets its name when it is whole, and what had the name goes last.
class OutputDirectoryTest {
    private static final RunKey RUN = key("command");
    private static final RunKey OTHER = key("another");

    @TempDir private Path dir;

    private static RunKey key(String command) {
        return new RunKey(new Journal.Head(command, "test"), Inputs.of(List.of()));
    }

    private OutputDirectory directory(boolean force) {
        return new OutputDirectory(dir.resolve("out"), force);
    }

    private static void fill(OutputDirectory directory, String text) throws IOException {
        Files.writeString(directory.work().resolve("model.safetensors"), text);
        Files.writeString(directory.work().resolve("llmc.json"), "{\"llmc_version\": \"test\"}");
    }

    private void make(OutputDirectory directory, RunKey key, String text) throws IOException {
        Journal journal = directory.begin(key, 0);
        fill(directory, text);
        directory.complete(journal, "done");
        directory.publish(journal);
    }

    private List<String> names() throws IOException {
        try (Stream<Path> files = Files.list(dir)) {
            return files.map(f -> f.getFileName().toString()).toList();
        }
    }

    @Test
    void hasItsNameOnceItIsWhole() throws IOException {
        OutputDirectory directory = directory(false);
        Journal journal = directory.begin(RUN, 0);
        fill(directory, "weights");
        assertThat(Files.exists(directory.output())).isFalse();
        directory.complete(journal, "done");
        directory.publish(journal);
        assertThat(directory.weightFiles()).hasSize(1);
        assertThat(directory.isFinished(RUN)).isTrue();
        directory.conclude();
        assertThat(directory.isFinished(RUN)).isFalse();
        assertThat(names()).containsExactly("out");
    }

    @Test
    void theSameCommandGoesOnWhereItWasKilled() throws IOException {
        OutputDirectory directory = directory(false);
        Journal journal = directory.begin(RUN, 0);
        journal.seal();
        fill(directory, "half");
        assertThat(directory.begin(RUN, 0).isSealed()).isTrue();
        assertThat(Files.exists(directory.work().resolve("model.safetensors"))).isTrue();
        assertThatThrownBy(() -> directory.begin(OTHER, 0))
                .isInstanceOf(UserException.class)
                .hasMessageContaining("unfinished work of another command");
    }

    @Test
    void whatFailedBeforeItFinishedAnythingLeavesNothing() throws IOException {
        OutputDirectory directory = directory(false);
        directory.abandon(directory.begin(RUN, 0));
        assertThat(names()).isEmpty();
    }

    @Test
    void onlyForceReplacesAndOnlyWhatLlmcMade() throws IOException {
        make(directory(false), RUN, "first");
        directory(false).conclude();
        assertThatThrownBy(() -> directory(false).begin(OTHER, 0))
                .isInstanceOf(UserException.class)
                .hasMessageContaining("exists and is not empty");
        make(directory(true), OTHER, "second");
        assertThat(dir.resolve("out/model.safetensors")).hasContent("second");
        directory(true).conclude();
        Files.delete(dir.resolve("out/llmc.json"));
        assertThatThrownBy(() -> directory(true).begin(OTHER, 0))
                .isInstanceOf(UserException.class)
                .hasMessageContaining("llmc has not made it");
    }
}
