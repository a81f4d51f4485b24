// SPDX-License-Identifier: Apache-2.0
package io.llmc.quantize;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.llmc.backend.Backend;
import io.llmc.backend.BackendOptions;
import io.llmc.backend.cpu.CpuBackend;
import io.llmc.formats.TestFiles;
import io.llmc.pipeline.Options;
import io.llmc.pipeline.Progress;
import io.llmc.pipeline.Recipe;
import io.llmc.pipeline.SweepPlan;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/// Sweeps whose passes look at a sample of the calibration sequences: the others stay at home.
class SampledSweepTest {
    private static final Path MODEL = TestFiles.testdata().resolve("tale-llama");
    private static final int LENGTH = 256;

    /// Windows that a sample of AWQ has.
    private static final int SAMPLE = 2048 / LENGTH;

    @TempDir private Path temp;

    /// The quick half of its searches.
    private static final Map<String, Object> AWQ =
            Map.of("awq", Map.of("duo", "without", "clamp", false));

    private static final Map<String, Object> RTN = Map.of("rtn", Map.of("bits", 4));
    private static final Map<String, Object> GPTQ = Map.of("gptq", Map.of("bits", 4));

    private static Recipe recipe(String order, int samples, Map<String, Object> rounding) {
        Map<String, Object> calibration =
                Map.of(
                        "data", MODEL.resolve("calibration.txt").toString(),
                        "samples", samples,
                        "length", LENGTH,
                        "order", order);
        Map<String, Object> tree =
                Map.of(
                        "model", MODEL.toString(),
                        "output", "unused",
                        "calibration", calibration,
                        "steps", List.of(Map.of("sweep", List.of(AWQ, rounding))),
                        "save", Map.of("layout", "compressed-tensors"));
        return Recipe.read(Options.of(tree), SweepTest.STEPS, tree);
    }

    private SweepPlan plan(int samples, Map<String, Object> rounding) {
        try (Backend backend = new CpuBackend(BackendOptions.defaults())) {
            Recipe recipe = recipe("random", samples, rounding);
            return SweepTest.plan(recipe, temp.resolve("out"), backend, Long.MAX_VALUE);
        }
    }

    @Test
    void noMemoryIsPlannedForSequencesThatNobodyLooksAt() {
        SweepPlan some = plan(SAMPLE, RTN);
        SweepPlan many = plan(5 * SAMPLE, RTN);
        assertThat(many.peakBytes()).isEqualTo(some.peakBytes());
        assertThat(some.notes()).noneMatch(note -> note.contains("calibration windows"));
        assertThat(many.notes())
                .contains("8 of 40 calibration windows are used: a sample is enough for awq");
    }

    @Test
    void whatLooksAtAllGetsAll() {
        SweepPlan many = plan(5 * SAMPLE, GPTQ);
        assertThat(many.peakBytes()).isGreaterThan(plan(SAMPLE, GPTQ).peakBytes());
        assertThat(many.notes()).noneMatch(note -> note.contains("calibration windows"));
    }

    /// The same sample, and so the same bytes, as where the others never were; a run that died goes
    /// on with it.
    @Test
    void theSampleIsThatOfAllWindows() throws Exception {
        Path all = temp.resolve("all");
        Path some = temp.resolve("some");
        try (Backend backend = new CpuBackend(BackendOptions.defaults())) {
            // In order, a sample of so many windows begins with the first one: of as many as it
            // wants it is all.
            Recipe few = recipe("first", SAMPLE, RTN);
            SweepTest.run(few, some, backend, Long.MAX_VALUE, Progress.NONE);
            Recipe more = recipe("first", SAMPLE + 1, RTN);
            long cap = SweepTest.plan(more, all, backend, Long.MAX_VALUE).peakBytes();
            assertThatThrownBy(
                            () -> SweepTest.run(more, all, backend, cap, SweepTest.dyingAfter(1)))
                    .isInstanceOf(SweepTest.Killed.class);
            SweepTest.run(more, all, backend, cap, Progress.NONE);
        }
        assertThat(Files.readAllBytes(all.resolve("model.safetensors")))
                .isEqualTo(Files.readAllBytes(some.resolve("model.safetensors")));
    }
}
