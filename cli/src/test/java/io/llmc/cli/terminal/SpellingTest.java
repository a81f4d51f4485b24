// SPDX-License-Identifier: Apache-2.0
package io.llmc.cli.terminal;

import static org.assertj.core.api.Assertions.assertThat;

import io.llmc.cli.Cli;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;

class SpellingTest {
    private static final List<String> LIBRARIES =
            List.of("formats", "model", "quantize", "prune", "distill", "evaluation", "gpu");

    /// A setting in a sentence of a library, in a line of source.
    private static final Pattern SETTING =
            Pattern.compile("\"[^\"]*\\{([a-z][a-zA-Z0-9.]*)\\}[^\"]*\"");

    @Test
    void flagsForFlagsAndKeysForRecipes() {
        String sentence = "lower {calibration.length} or raise {memory}, not {this}";
        assertThat(Spelling.asFlags(sentence))
                .isEqualTo("lower --calib-length or raise --memory, not {this}");
        assertThat(Spelling.asKeys(sentence))
                .isEqualTo("lower calibration.length or raise --memory, not {this}");
    }

    @Test
    void everySettingThatALibraryNamesIsAFlag() throws IOException {
        List<String> unknown = new ArrayList<>();
        int known = 0;
        for (Path file : sources()) {
            for (String line : Files.readAllLines(file)) {
                Matcher m = SETTING.matcher(line);
                while (!line.strip().startsWith("//") && m.find()) {
                    if (Spelling.asFlags("{" + m.group(1) + "}").startsWith("--")) {
                        known++;
                    } else {
                        unknown.add(file.getFileName() + ": " + m.group(1));
                    }
                }
            }
        }
        assertThat(unknown).isEmpty();
        assertThat(known).isGreaterThan(50);
    }

    private static List<Path> sources() throws IOException {
        List<Path> all = new ArrayList<>();
        for (String module : LIBRARIES) {
            Path root = Cli.TESTDATA.toAbsolutePath().resolveSibling(module);
            try (Stream<Path> files = Files.walk(root)) {
                files.filter(f -> f.toString().endsWith(".java"))
                        .filter(f -> f.toString().contains("src/main"))
                        .forEach(all::add);
            }
        }
        return all;
    }
}
