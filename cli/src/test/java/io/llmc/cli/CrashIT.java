// SPDX-License-Identifier: Apache-2.0
package io.llmc.cli;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/// Commands that die at any call that changes a file: see [CrashRuns].
///
/// `-Dllmc.crashes=all` lets every command die at every call; otherwise some do at some.
@Tag("long")
class CrashIT {
    private static final String SOURCE = "cli/src/test/cpp/crash.cpp";

    @TempDir private Path dir;

    @Test
    void aRunThatDiesAnywhereLosesNothing() throws Exception {
        Path library = dir.resolve("crash.so");
        assumeTrue(compiles(library), "g++ is not there to compile " + SOURCE);
        boolean all = "all".equals(System.getProperty("llmc.crashes"));
        List<String> command =
                new ArrayList<>(
                        List.of(
                                Path.of(System.getProperty("java.home"), "bin", "java").toString(),
                                "--add-modules=jdk.incubator.vector",
                                "--enable-native-access=ALL-UNNAMED",
                                "-Xmx1g",
                                "-cp",
                                System.getProperty("java.class.path"),
                                CrashRuns.class.getName(),
                                library.toString(),
                                Files.createDirectory(dir.resolve("runs")).toString(),
                                all ? "all" : "some"));
        command.addAll(
                all
                        ? List.of(
                                "quantize",
                                "shards",
                                "prune",
                                "slice",
                                "distill",
                                "blockwise",
                                "adapter",
                                "save-teacher",
                                "recipe")
                        : List.of("quantize", "distill", "save-teacher", "recipe"));
        Path log = dir.resolve("log.txt");
        ProcessBuilder builder =
                new ProcessBuilder(command).redirectErrorStream(true).redirectOutput(log.toFile());
        builder.environment().put("LD_PRELOAD", library.toString());
        builder.environment().put("OMP_NUM_THREADS", "1");
        assertThat(builder.start().waitFor()).as(() -> read(log)).isZero();
    }

    private static String read(Path log) {
        try {
            return Files.readString(log);
        } catch (IOException e) {
            return e.toString();
        }
    }

    private static boolean compiles(Path library) throws InterruptedException {
        try {
            return new ProcessBuilder(
                                    "g++",
                                    "-std=c++17",
                                    "-O1",
                                    "-fPIC",
                                    "-shared",
                                    "-o",
                                    library.toString(),
                                    SOURCE,
                                    "-ldl")
                            .inheritIO()
                            .start()
                            .waitFor()
                    == 0;
        } catch (IOException e) {
            return false;
        }
    }
}
