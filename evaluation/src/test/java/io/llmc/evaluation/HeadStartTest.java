// SPDX-License-Identifier: Apache-2.0
package io.llmc.evaluation;

import static org.assertj.core.api.Assertions.assertThat;

import com.google.errorprone.annotations.MustBeClosed;
import io.llmc.backend.BackendOptions;
import io.llmc.backend.cpu.CpuBackend;
import io.llmc.formats.TestFiles;
import io.llmc.model.arch.Models;
import io.llmc.pipeline.Progress;
import java.io.IOException;
import java.nio.channels.FileChannel;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.List;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.function.Consumer;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class HeadStartTest {
    private static final Path MODEL = TestFiles.testdata().resolve("tiny-llama");

    @TempDir Path temp;

    @Test
    void workGoesOnUntilItIsClosedAndLeavesNothing() throws InterruptedException {
        try (CpuBackend backend = new CpuBackend(BackendOptions.defaults())) {
            assertThat(peak(backend, Long.MAX_VALUE)).isPositive();
            assertThat(threads()).isZero();
        }
    }

    @Test
    void nothingIsTakenOfMemoryThatHasACap() throws InterruptedException {
        try (CpuBackend backend = new CpuBackend(BackendOptions.defaults())) {
            assertThat(peak(backend, 1L << 40)).isZero();
        }
    }

    @Test
    void aClosedModelIsLeftToTheEvaluation() throws Exception {
        assertNobodyHears(ModelRun::close, () -> {});
    }

    /// What is mapped can be read no more: that is an error, and no exception.
    @Test
    void aFileThatBecomesShorterIsLeftToTheEvaluation() throws Exception {
        assertNobodyHears(
                _ -> {},
                () -> {
                    Path weights = temp.resolve("model.safetensors");
                    try (FileChannel file = FileChannel.open(weights, StandardOpenOption.WRITE)) {
                        file.truncate(0);
                    }
                });
    }

    private interface Harm {
        void run() throws IOException;
    }

    private void assertNobodyHears(Consumer<ModelRun> before, Harm meanwhile) throws Exception {
        for (String file : new String[] {"config.json", "model.safetensors"}) {
            Files.copy(MODEL.resolve(file), temp.resolve(file));
        }
        List<Throwable> uncaught = new CopyOnWriteArrayList<>();
        var usual = Thread.getDefaultUncaughtExceptionHandler();
        Thread.setDefaultUncaughtExceptionHandler((_, e) -> uncaught.add(e));
        try (CpuBackend backend = new CpuBackend(BackendOptions.defaults());
                ModelRun run = run(temp, backend)) {
            before.accept(run);
            try (HeadStart _ = headStart(run, backend, Long.MAX_VALUE)) {
                for (int i = 0; i < 100 && backend.host().peak() == 0 && threads() > 0; i++) {
                    Thread.sleep(10);
                }
                meanwhile.run();
                for (int i = 0; i < 1000 && threads() > 0; i++) {
                    Thread.sleep(10);
                }
                assertThat(threads()).as("ends by itself").isZero();
            }
            assertThat(uncaught).isEmpty();
        } finally {
            Thread.setDefaultUncaughtExceptionHandler(usual);
        }
    }

    private static long threads() {
        return Thread.getAllStackTraces().keySet().stream()
                .filter(t -> t.getName().equals("llmc-head-start"))
                .count();
    }

    /// Most bytes that were held, once there are some or after a while.
    private static long peak(CpuBackend backend, long memory) throws InterruptedException {
        try (ModelRun run = run(MODEL, backend);
                HeadStart _ = headStart(run, backend, memory)) {
            for (int i = 0; i < 100 && backend.host().peak() == 0; i++) {
                Thread.sleep(10);
            }
            return backend.host().peak();
        }
    }

    @MustBeClosed
    private static ModelRun run(Path model, CpuBackend backend) {
        return new ModelRun(Models.AS_THEY_SAY, model, backend, Progress.NONE);
    }

    @MustBeClosed
    private static HeadStart headStart(ModelRun run, CpuBackend backend, long memory) {
        return new HeadStart(run, new EvalRehearsal(backend, true), 16, memory);
    }
}
