// SPDX-License-Identifier: Apache-2.0
package io.llmc.distill.training;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.llmc.backend.Backend;
import io.llmc.backend.BackendOptions;
import io.llmc.backend.cpu.CpuBackend;
import io.llmc.distill.Runs;
import io.llmc.distill.spec.DistillSpec;
import io.llmc.distill.spec.LayerMap;
import io.llmc.distill.spec.Parameter;
import io.llmc.distill.student.TrainedModel;
import io.llmc.formats.TestFiles;
import io.llmc.formats.UserException;
import io.llmc.formats.checkpoint.Checkpoint;
import io.llmc.model.arch.Architectures;
import io.llmc.model.language.ResidentModel;
import io.llmc.pipeline.Options;
import io.llmc.tensor.DType;
import io.llmc.tensor.Tensor;
import io.llmc.tokenizer.Windows;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.function.Consumer;
import org.assertj.core.data.Offset;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/// The gradient of a trainer's whole loss, by every parameter, against differences of that loss.
class InsideLossTest {
    @TempDir Path temp;

    /// A trainer and what it consists of.
    private record Parts(
            TrainedModel student, Trainer trainer, DistillSpec spec, Backend backend) {}

    @SuppressWarnings("MustBeClosed") // all are resources of the try
    private static void with(
            Path student, Path teacher, Map<String, Object> loss, Consumer<Parts> test) {
        Map<String, Object> options = new LinkedHashMap<>();
        options.put("teacher", "unused");
        options.put("data", "unused");
        options.put("batch", 2);
        options.put("length", 12);
        options.put("loss", loss);
        DistillSpec spec = DistillSpec.read(Options.of(options));
        try (Backend backend = new CpuBackend(new BackendOptions(2, BackendOptions.Math.PORTABLE));
                Checkpoint own = Checkpoint.open(student);
                Checkpoint other = Checkpoint.open(teacher);
                TrainedModel model = TrainedModel.of(own, backend, spec);
                ResidentModel asked =
                        new ResidentModel(other, Architectures.specOf(other), backend, 12);
                InsideLoss inside =
                        new InsideLoss(model, asked, LayerMap.of(own, other, List.of()), spec);
                Trainer trainer =
                        new Trainer(
                                model,
                                asked,
                                null,
                                inside,
                                spec,
                                StepMemory.of(own, other, null, spec, backend, Long.MAX_VALUE))) {
            test.accept(new Parts(model, trainer, spec, backend));
        }
    }

    private static Windows windows() {
        return Windows.of(new Random(1).ints(24, 0, 256).toArray(), 12);
    }

    @ParameterizedTest
    @CsvSource({
        "kl, mse, tiny-qwen3, tiny-qwen3",
        "ce, mse, tiny-qwen3, tiny-qwen3",
        "hidden, mse, tiny-qwen3, tiny-qwen3",
        "hidden, cosine, tiny-qwen3, tiny-qwen3",
        "attention, mse, tiny-qwen3, tiny-qwen3",
        "attention, mse, tiny-gemma3_text, tiny-gemma3_text",
        "hidden, mse, tiny-llama, tale-llama",
        "hidden, cosine, tiny-llama, tale-llama"
    })
    void gradientsAreThoseOfTheLoss(String loss, String distance, String own, String other)
            throws Exception {
        Path original = TestFiles.testdata().resolve(own);
        Path student = temp.resolve("student");
        Runs.disturb(original, student);
        Path teacher = TestFiles.testdata().resolve(other);
        Map<String, Object> options =
                loss.equals("hidden") ? Map.of(loss, 2, "distance", distance) : Map.of(loss, 2);
        with(
                student,
                teacher,
                options,
                parts -> {
                    parts.student.zeroGradients();
                    Losses losses = parts.trainer.learn(windows(), new int[] {0, 1}, 1);
                    double measured =
                            parts.trainer.measure(windows(), new int[] {0, 1}).total(parts.spec);
                    assertThat(losses.total(parts.spec)).isPositive();
                    assertThat(measured).isCloseTo(losses.total(parts.spec), Offset.offset(1e-6));
                    int moved = 0;
                    for (Parameter p : parts.student.trained().values()) {
                        float[] g = parts.backend.floats(p.gradient());
                        double square = 0;
                        for (float v : g) {
                            square += (double) v * v;
                        }
                        if (square < 1e-8) {
                            continue;
                        }
                        moved++;
                        // A step that changes the loss by some thousandths.
                        double h = 2e-3 * measured / square;
                        double slope = slope(parts, p, g, h);
                        assertThat(slope)
                                .as(p.name())
                                .isCloseTo(square, Offset.offset(0.03 * square));
                    }
                    assertThat(moved).isGreaterThan(5);
                    boolean projects = parts.student.trained().containsKey("projection.0");
                    assertThat(projects).isEqualTo(!own.equals(other));
                });
    }

    private static double slope(Parts parts, Parameter p, float[] g, double h) {
        float[] w = parts.backend.floats(p.values());
        move(parts.backend, p.values(), w, g, h);
        double up = parts.trainer.measure(windows(), new int[] {0, 1}).total(parts.spec);
        move(parts.backend, p.values(), w, g, -h);
        double down = parts.trainer.measure(windows(), new int[] {0, 1}).total(parts.spec);
        move(parts.backend, p.values(), w, g, 0);
        return (up - down) / (2 * h);
    }

    private static void move(Backend backend, Tensor t, float[] w, float[] g, double h) {
        try (Arena host = Arena.ofConfined()) {
            MemorySegment values = host.allocate(t.byteSize(), 64);
            for (int i = 0; i < w.length; i++) {
                values.setAtIndex(
                        java.lang.foreign.ValueLayout.JAVA_FLOAT, i, (float) (w[i] + h * g[i]));
            }
            backend.upload(t, values);
        }
        assertThat(t.dtype()).isEqualTo(DType.F32);
    }

    @Test
    void aModelHasNoDistanceFromItself() {
        Path model = TestFiles.testdata().resolve("tiny-llama");
        with(
                model,
                model,
                Map.of("hidden", 1, "attention", 1),
                parts -> {
                    Losses losses = parts.trainer.measure(windows(), new int[] {0, 1});
                    assertThat(losses.hidden()).isLessThan(1e-9);
                    assertThat(losses.attention()).isLessThan(1e-9);
                });
    }

    @Test
    void attentionOfOtherHeadsIsRefused() {
        Path student = TestFiles.testdata().resolve("tiny-gpt2");
        Path teacher = TestFiles.testdata().resolve("tiny-gemma3_text");
        assertThatThrownBy(() -> with(student, teacher, Map.of("attention", 1), _ -> {}))
                .isInstanceOf(UserException.class)
                .hasMessageContaining("window");
    }
}
