// SPDX-License-Identifier: Apache-2.0
package io.llmc.cli;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/// The commands of docs/generate.md.
class GeneratePageIT {
    private static final Path PAGE = Cli.TESTDATA.resolveSibling("docs/generate.md");
    private static final Pattern WORD = Pattern.compile("\"([^\"]*)\"|(\\S+)");

    @TempDir private Path dir;

    @Test
    void everyCommandRuns() throws IOException {
        List<String> commands =
                Files.readAllLines(PAGE).stream()
                        .filter(line -> line.startsWith("bin/llmc "))
                        .toList();
        assertThat(commands).hasSize(5);
        for (String command : commands) {
            Cli run = Cli.run(words(command));
            assertThat(run.exit()).as("%s: %s", command, run.err()).isZero();
            assertThat(run.out()).as(command).isNotBlank();
        }
    }

    private Object[] words(String command) {
        List<Object> words = new ArrayList<>();
        Matcher word = WORD.matcher(command.substring("bin/llmc ".length()));
        while (word.find()) {
            String text = word.group(1) == null ? word.group(2) : word.group(1);
            words.add(text.equals("out") ? dir.resolve("out") : text);
        }
        return words.toArray();
    }
}
