// SPDX-License-Identifier: Apache-2.0
package io.llmc.evaluation;

import static org.assertj.core.api.Assertions.assertThat;

import io.llmc.backend.Backend;
import io.llmc.backend.BackendOptions;
import io.llmc.backend.cpu.CpuBackend;
import io.llmc.formats.TestFiles;
import io.llmc.model.arch.Models;
import io.llmc.pipeline.Progress;
import io.llmc.pipeline.Step;
import java.nio.file.Path;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/// What an evaluation promises to take, against what it took.
class EvalMemoryTest {
    private static final Path MODEL = TestFiles.testdata().resolve("tale-llama");

    @TempDir private Path dir;

    private static EvalSpec spec(int window, int windows, Path against) {
        Path text = MODEL.resolve("test.txt");
        return new EvalSpec(MODEL, against, text, window, Convention.GPTQ, 0, windows);
    }

    private static void promised(EvalSpec spec, long cap) {
        try (Backend backend = new CpuBackend(BackendOptions.defaults());
                Step.Plan plan =
                        new Evaluator(Models.AS_THEY_SAY, backend, Progress.NONE, cap)
                                .prepare(spec)) {
            long promised = plan.bytes();
            plan.run();
            assertThat(backend.host().peak()).isBetween((long) (promised / 1.25), promised);
        }
    }

    @Test
    void ofManyWindowsAtOnce() {
        promised(spec(512, 0, null), Long.MAX_VALUE);
    }

    @Test
    void ofWindowsThatComeInSeveralBatches() {
        promised(spec(512, 12, null), 40 << 20);
    }

    @Test
    void besideTheOriginal() {
        promised(spec(256, 24, MODEL), Long.MAX_VALUE);
    }

    @Test
    void withLogitsThatAreSaved() {
        EvalSpec spec =
                new EvalSpec(
                        MODEL,
                        null,
                        MODEL.resolve("test.txt"),
                        256,
                        null,
                        0,
                        8,
                        null,
                        dir.resolve("base.kld"));
        promised(spec, Long.MAX_VALUE);
    }
}
