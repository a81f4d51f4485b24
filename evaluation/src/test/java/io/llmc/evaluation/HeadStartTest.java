// SPDX-License-Identifier: Apache-2.0
package io.llmc.evaluation;

import static org.assertj.core.api.Assertions.assertThat;

import com.google.errorprone.annotations.MustBeClosed;
import io.llmc.backend.BackendOptions;
import io.llmc.backend.cpu.CpuBackend;
import io.llmc.formats.TestFiles;
import io.llmc.model.arch.Models;
import io.llmc.pipeline.Progress;
import java.nio.file.Path;
import java.util.List;
import java.util.concurrent.CopyOnWriteArrayList;
import org.junit.jupiter.api.Test;

class HeadStartTest {
    private static final Path MODEL = TestFiles.testdata().resolve("tiny-llama");

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
    void whatGoesWrongIsLeftToTheEvaluation() {
        List<Throwable> uncaught = new CopyOnWriteArrayList<>();
        var before = Thread.getDefaultUncaughtExceptionHandler();
        Thread.setDefaultUncaughtExceptionHandler((_, e) -> uncaught.add(e));
        try (CpuBackend backend = new CpuBackend(BackendOptions.defaults());
                ModelRun run = run(backend)) {
            run.close();
            try (HeadStart _ = headStart(run, backend, Long.MAX_VALUE)) {
                assertThat(uncaught).isEmpty();
            }
            assertThat(uncaught).isEmpty();
        } finally {
            Thread.setDefaultUncaughtExceptionHandler(before);
        }
    }

    private static long threads() {
        return Thread.getAllStackTraces().keySet().stream()
                .filter(t -> t.getName().equals("llmc-head-start"))
                .count();
    }

    /// Most bytes that were held, once there are some or after a while.
    private static long peak(CpuBackend backend, long memory) throws InterruptedException {
        try (ModelRun run = run(backend);
                HeadStart _ = headStart(run, backend, memory)) {
            for (int i = 0; i < 100 && backend.host().peak() == 0; i++) {
                Thread.sleep(10);
            }
            return backend.host().peak();
        }
    }

    @MustBeClosed
    private static ModelRun run(CpuBackend backend) {
        return new ModelRun(Models.AS_THEY_SAY, MODEL, backend, Progress.NONE);
    }

    @MustBeClosed
    private static HeadStart headStart(ModelRun run, CpuBackend backend, long memory) {
        return new HeadStart(run, new EvalRehearsal(backend, true), 16, memory);
    }
}
