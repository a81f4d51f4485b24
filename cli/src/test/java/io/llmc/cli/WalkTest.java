// SPDX-License-Identifier: Apache-2.0
package io.llmc.cli;

import static org.assertj.core.api.Assertions.assertThat;

import io.llmc.backend.CompressionOp;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/// docs/walk.md is true, and the way is short.
class WalkTest {
    private static final Pattern HOP =
            Pattern.compile("(?ms)^\\d+\\. `([a-z/]+)` `(\\w+\\.java)`: (.*?)(?=^\\d+\\. |\\z)");

    private static final Pattern NAME = Pattern.compile("`(\\w+)`");

    @TempDir private Path dir;

    @Test
    void everyHopsFileAndNamesExist() throws IOException {
        Path root = Cli.TESTDATA.toAbsolutePath().getParent();
        Matcher hop = HOP.matcher(Files.readString(root.resolve("docs/walk.md")));
        int hops = 0;
        while (hop.find()) {
            Path file = file(root.resolve(hop.group(1)).resolve("src/main"), hop.group(2));
            String source = Files.readString(file);
            Matcher name = NAME.matcher(hop.group(3));
            while (name.find()) {
                assertThat(source).as("%s in %s", name.group(1), file).contains(name.group(1));
            }
            hops++;
        }
        assertThat(hops).isBetween(8, 12);
    }

    private static Path file(Path module, String name) throws IOException {
        try (Stream<Path> files = Files.walk(module)) {
            List<Path> found = files.filter(f -> f.endsWith(name)).toList();
            assertThat(found).as(name).hasSize(1);
            return found.getFirst();
        }
    }

    /// From the command to the device's `run` of the operation that GPTQ is about.
    @Test
    void twelveCallsLeadFromTheCommandToTheDevice() {
        try (TracedDevice.Trace trace =
                TracedDevice.during(
                        CompressionOp.AccumulateObsBlock.class, QuantizeCommand.class, "call")) {
            Cli run =
                    Cli.run(
                            "quantize",
                            Cli.TALE_LLAMA,
                            "-o",
                            dir.resolve("out"),
                            "--targets=*.0.mlp.down_proj",
                            "--group-size=64",
                            "--calib-data=" + Cli.TALE_LLAMA.resolve("calibration.txt"),
                            "--calib-samples=2",
                            "--calib-length=32",
                            "--device=" + TracedDevice.NAME);
            assertThat(run.exit()).as(run.err()).isZero();
            assertThat(trace.frames()).hasSizeBetween(2, 1 + 12);
        }
    }
}
