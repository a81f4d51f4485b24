// SPDX-License-Identifier: Apache-2.0
package io.llmc.cli;

import static org.assertj.core.api.Assertions.assertThat;

import io.llmc.model.arch.Architectures;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.stream.Collectors;
import org.junit.jupiter.api.Test;

/// The list of what llmc reads, and the same in the README.
class ArchitecturesCommandTest {
    private static final Path README = Path.of("README.md");
    private static final String ROW = "| architectures (`model_type`) | ";

    @Test
    void everyTypeIsListedOnce() {
        Cli run = Cli.run("architectures");
        assertThat(run.exit()).isZero();
        assertThat(run.out().lines()).isSorted().doesNotHaveDuplicates().contains("llama");
    }

    /// With `-Dllmc.renew=true` the row is written anew.
    @Test
    void theReadmeHasThem() throws IOException {
        String row =
                Architectures.modelTypes().stream()
                        .map("`%s`"::formatted)
                        .collect(Collectors.joining(", ", ROW, " |"));
        String text = Files.readString(README);
        if (Boolean.getBoolean("llmc.renew")) {
            Files.writeString(
                    README,
                    text.lines()
                            .map(line -> line.startsWith(ROW) ? row : line)
                            .collect(Collectors.joining("\n", "", "\n")));
            return;
        }
        assertThat(text.lines().filter(line -> line.startsWith(ROW))).containsExactly(row);
    }
}
