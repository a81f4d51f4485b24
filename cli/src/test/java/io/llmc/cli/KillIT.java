// SPDX-License-Identifier: Apache-2.0
package io.llmc.cli;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.File;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.MessageDigest;
import java.util.ArrayList;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.TreeMap;
import java.util.concurrent.TimeUnit;
import java.util.stream.Stream;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/// The whole program, killed without warning at random moments, by the operating system.
@Tag("long")
class KillIT {
    private static final int KILLS = 4;
    private static final long SEED = 20;

    @TempDir Path temp;

    @Test
    void aRunKilledAgainAndAgainEndsInTheSameBytes() throws Exception {
        Path calm = temp.resolve("calm");
        long start = System.nanoTime();
        assertThat(start(calm, 2).waitFor()).isZero();
        long millis = (System.nanoTime() - start) / 1_000_000;

        Path killed = temp.resolve("killed");
        Random random = new Random(SEED);
        for (int kills = 0; kills < KILLS; ) {
            // One and two threads by turns, since neither may show.
            Process run = start(killed, 1 + kills % 2);
            if (run.waitFor(200 + random.nextLong(millis * 3 / 4), TimeUnit.MILLISECONDS)) {
                // Done in spite of the kills before; the next run begins from nothing.
                assertThat(hashes(killed)).as("seed " + SEED).isEqualTo(hashes(calm));
                delete(killed);
            } else {
                run.destroyForcibly().waitFor();
                kills++;
            }
        }
        assertThat(start(killed, 1).waitFor()).isZero();
        assertThat(hashes(killed)).as("seed " + SEED).isEqualTo(hashes(calm));
        assertThat(temp.resolve("killed.llmc-partial")).doesNotExist();
    }

    private static void delete(Path directory) throws IOException {
        try (Stream<Path> files = Files.list(directory)) {
            for (Path file : files.toList()) {
                Files.delete(file);
            }
        }
        Files.delete(directory);
    }

    private Process start(Path output, int threads) throws IOException {
        Path model = Cli.TALE_LLAMA;
        List<String> command =
                new ArrayList<>(
                        List.of(
                                Path.of(System.getProperty("java.home"), "bin", "java").toString(),
                                "--add-modules=jdk.incubator.vector",
                                "--enable-native-access=ALL-UNNAMED",
                                "-cp",
                                System.getProperty("java.class.path"),
                                Llmc.class.getName()));
        command.addAll(
                List.of(
                        "quantize",
                        model.toString(),
                        "-o",
                        output.toString(),
                        "-q",
                        "--bits",
                        "4"));
        command.addAll(List.of("--group-size", "64", "--threads", Integer.toString(threads)));
        command.addAll(List.of("--calib-data", model.resolve("calibration.txt").toString()));
        command.addAll(List.of("--calib-samples", "16", "--calib-length", "256"));
        File log = temp.resolve("log.txt").toFile();
        ProcessBuilder builder =
                new ProcessBuilder(command)
                        .redirectErrorStream(true)
                        .redirectOutput(ProcessBuilder.Redirect.appendTo(log));
        builder.environment().put("OMP_NUM_THREADS", "1");
        return builder.start();
    }

    private static Map<String, String> hashes(Path directory) throws Exception {
        Map<String, String> hashes = new TreeMap<>();
        try (Stream<Path> files = Files.list(directory)) {
            for (Path file : files.toList()) {
                byte[] digest =
                        MessageDigest.getInstance("SHA-256").digest(Files.readAllBytes(file));
                hashes.put(file.getFileName().toString(), HexFormat.of().formatHex(digest));
            }
        }
        return hashes;
    }
}
