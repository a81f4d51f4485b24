// SPDX-License-Identifier: Apache-2.0
package io.llmc.cli;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.nio.channels.FileChannel;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/// A model's file becomes shorter while a process of its own has it mapped: that process ends by
/// its own decision, and goes on when the file is back.
@Tag("long")
class TruncationIT {
    private static final int SECONDS = 120;

    @TempDir Path dir;

    @Test
    void aRunGoesOnWhenTheFileIsWholeAgain() throws Exception {
        Path good = Cli.TALE_LLAMA;
        Path model = BrokenModel.copyOf(good, dir.resolve("model")).directory();
        Path weights = model.resolve("model.safetensors");
        Path out = dir.resolve("out");
        Object[] args = {
            "quantize",
            model,
            "-o",
            out,
            "--method",
            "gptq",
            "--group-size",
            "64",
            "--calib-data",
            good.resolve("calibration.txt"),
            "--calib-samples",
            "8",
            "--calib-length",
            "64"
        };
        var time = Files.getLastModifiedTime(weights);
        Path journal = dir.resolve("out.llmc-partial/journal.jsonl");
        Process run = start(args);
        long end = System.nanoTime() + TimeUnit.SECONDS.toNanos(SECONDS);
        while (run.isAlive() && !Files.exists(journal) && System.nanoTime() < end) {
            Thread.sleep(2);
        }
        try (FileChannel file = FileChannel.open(weights, StandardOpenOption.WRITE)) {
            file.truncate(100_000);
        }
        assertThat(run.waitFor(SECONDS, TimeUnit.SECONDS)).isTrue();
        String err = Files.readString(dir.resolve("err"));
        assertThat(run.exitValue()).as(err).isEqualTo(ExitCode.FAILED);
        assertThat(err).contains("model.safetensors: became shorter while it was in use");
        assertThat(out).doesNotExist();
        Files.copy(
                good.resolve("model.safetensors"),
                weights,
                java.nio.file.StandardCopyOption.REPLACE_EXISTING);
        Files.setLastModifiedTime(weights, time);
        Process again = start(args);
        assertThat(again.waitFor(SECONDS, TimeUnit.SECONDS)).isTrue();
        assertThat(again.exitValue()).as(Files.readString(dir.resolve("err"))).isZero();
        Path whole = dir.resolve("whole");
        args[3] = whole;
        assertThat(Cli.run(args).exit()).isZero();
        assertThat(out.resolve("model.safetensors"))
                .hasSameBinaryContentAs(whole.resolve("model.safetensors"));
    }

    private Process start(Object... args) throws IOException {
        List<String> command = new ArrayList<>();
        command.add(Path.of(System.getProperty("java.home"), "bin", "java").toString());
        command.add("--add-modules=jdk.incubator.vector");
        command.add("--enable-native-access=ALL-UNNAMED");
        command.add("-Xmx512m");
        command.add("-cp");
        command.add(System.getProperty("java.class.path"));
        command.add("io.llmc.cli.Llmc");
        for (Object arg : args) {
            command.add(arg.toString());
        }
        return new ProcessBuilder(command)
                .redirectOutput(dir.resolve("out-text").toFile())
                .redirectError(dir.resolve("err").toFile())
                .start();
    }
}
