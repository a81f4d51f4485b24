// SPDX-License-Identifier: Apache-2.0
package io.llmc.quantize;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.llmc.backend.Backend;
import io.llmc.backend.BackendOptions;
import io.llmc.backend.CompressionOp;
import io.llmc.backend.Desk;
import io.llmc.backend.ForwardOp;
import io.llmc.backend.cpu.CpuBackend;
import io.llmc.formats.GridSpec;
import io.llmc.pipeline.Options;
import io.llmc.pipeline.RecipeException;
import io.llmc.pipeline.pass.BlockPass;
import io.llmc.pipeline.sweep.SweepStep;
import io.llmc.tensor.DType;
import io.llmc.tensor.Encoding;
import io.llmc.tensor.Tensor;
import io.llmc.tensor.Weight;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Random;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/// Ranges of groups by what rounding costs the layer's outputs, and who asks for them.
class OutputRangesTest {
    private static final int OUT = 24;
    private static final int TOKENS = 200;

    /// Each input is largely the one before it.
    private static float[] inputs(Random random, int in) {
        float[] x = new float[TOKENS * in];
        for (int i = 0; i < x.length; i++) {
            double last = i % in == 0 ? 0 : x[i - 1];
            x[i] = (float) (0.9 * last + 0.4 * random.nextGaussian());
        }
        return x;
    }

    private static float[] weights(Random random, int in) {
        float[] w = new float[OUT * in];
        for (int i = 0; i < w.length; i++) {
            w[i] = (float) random.nextGaussian();
        }
        return w;
    }

    /// What rounding on ranges by outputs, or by weights alone, costs the part of the outputs that
    /// each group makes.
    @SuppressWarnings("MustBeClosed") // the desk closes its arena
    private static double[] costs(boolean outputs, int in, int width, boolean symmetric) {
        Random random = new Random(5);
        float[] x = inputs(random, in);
        float[] w = weights(random, in);
        try (Backend backend = new CpuBackend(BackendOptions.defaults());
                Desk d = new Desk(backend, backend.newArena(1 << 22))) {
            Weight dense = new Weight.Dense(d.floats(w).reshape(OUT, in));
            var spec = new GridSpec<>(Encoding.ints(4, width, symmetric), DType.F32, 0);
            Tensor grams = GroupGrams.of(d, d.floats(x).reshape(TOKENS, in), width);
            Weight rounded =
                    RtnMath.quantize(
                                    d,
                                    dense,
                                    WeightGrid.allocate(d, spec, dense, null),
                                    outputs ? grams : null,
                                    new CompressionOp.GridSearch(9, 20, 2, true),
                                    false)
                            .weight();
            Tensor change = d.f32(OUT, in);
            d.run(new CompressionOp.Dequantize(change, rounded));
            d.run(new ForwardOp.Add(change, change, d.floats(w).reshape(OUT, in), -1));
            return costs(backend.floats(change), x, in, width);
        }
    }

    private static double[] costs(float[] change, float[] x, int in, int width) {
        double[] costs = new double[OUT * Math.ceilDiv(in, width)];
        for (int o = 0; o < OUT; o++) {
            for (int t = 0; t < TOKENS; t++) {
                for (int from = 0; from < in; from += width) {
                    double y = 0;
                    for (int i = from; i < Math.min(in, from + width); i++) {
                        y += (double) change[o * in + i] * x[t * in + i];
                    }
                    costs[o * Math.ceilDiv(in, width) + from / width] += y * y;
                }
            }
        }
        return costs;
    }

    /// The last group of 80 by 32 has half of the columns.
    @ParameterizedTest
    @CsvSource({"96, 32, true", "96, 32, false", "80, 32, true", "80, 80, true"})
    void noGroupCostsTheOutputsMoreThanByWeightsAlone(int in, int width, boolean symmetric) {
        double[] outputs = costs(true, in, width, symmetric);
        double[] alone = costs(false, in, width, symmetric);
        double sum = 0;
        double other = 0;
        for (int g = 0; g < outputs.length; g++) {
            assertThat(outputs[g]).isLessThanOrEqualTo(alone[g] * 1.0001);
            sum += outputs[g];
            other += alone[g];
        }
        assertThat(sum).isLessThan(0.9 * other);
    }

    /// More tokens than are looked at together, in the memory that is said; the last group is
    /// narrow.
    @Test
    @SuppressWarnings("MustBeClosed") // the desk closes its arena
    void aSequenceMayBeLong() {
        int tokens = 4500;
        int in = 12;
        int width = 8;
        float[] x = new float[tokens * in];
        for (int i = 0; i < x.length; i++) {
            x[i] = i * 7 % 5 - 2; // sums of such products are exact
        }
        try (Backend backend = new CpuBackend(BackendOptions.defaults());
                Desk d = new Desk(backend, backend.newArena(1 << 20));
                Desk own = d.fresh(GroupGrams.bytes(in, width))) {
            Tensor all = d.floats(x).reshape(tokens, in);
            float[] grams = backend.floats(GroupGrams.of(own, all, width));
            for (int i = 0; i < in; i++) {
                for (int k = 0; k < width; k++) {
                    int other = i / width * width + k;
                    float want = 0;
                    for (int t = 0; t < tokens && other < in; t++) {
                        want += x[t * in + i] * x[t * in + other];
                    }
                    assertThat(grams[i * width + k]).isEqualTo(want);
                }
            }
        }
    }

    private static BlockPass rounding(Map<String, Object> awq, Map<String, Object> rtn) {
        return step(Map.of("awq", awq), Map.of("rtn", rtn)).passes().getLast();
    }

    @SafeVarargs
    private static SweepStep step(Map<String, Object>... methods) {
        Map<String, Object> tree = new LinkedHashMap<>();
        tree.put("sweep", List.of(methods));
        return (SweepStep) SweepStep.factory(QuantizePasses.ALL).read().apply(Options.of(tree));
    }

    private static Object clip(Map<String, Object> awq, Map<String, Object> rtn) {
        return rounding(awq, rtn).describe().get("clip");
    }

    @Test
    void awqAsksForRangesByOutputsUnlessSomebodyChose() {
        assertThat(clip(Map.of(), Map.of("bits", 4))).isEqualTo("output");
        assertThat(clip(Map.of("clamp", false), Map.of("bits", 4))).isEqualTo("none");
        assertThat(clip(Map.of(), Map.of("bits", 4, "clip", "mse"))).isEqualTo("mse");
        assertThat(clip(Map.of(), Map.of("bits", 4, "clip", "none"))).isEqualTo("none");
    }

    @Test
    void aSampleIsEnoughForThem() {
        BlockPass pass = rounding(Map.of(), Map.of("bits", 4));
        assertThat(pass.calibrates()).isTrue();
        assertThat(pass.wantsAllSequences()).isFalse();
        assertThat(rounding(Map.of("clamp", false), Map.of("bits", 4)).calibrates()).isFalse();
    }

    @Test
    void smallFloatsHaveNoRanges() {
        assertThat(clip(Map.of(), Map.of("scheme", "nvfp4a16"))).isEqualTo("none");
        assertThatThrownBy(() -> clip(Map.of(), Map.of("scheme", "nvfp4a16", "clip", "output")))
                .isInstanceOf(RecipeException.class)
                .hasMessageContaining("clip is for grids of integers");
    }

    @Test
    void gptqHasItsHessian() {
        assertThatThrownBy(() -> step(Map.of("gptq", Map.of("clip", "output"))))
                .isInstanceOf(RecipeException.class)
                .hasMessageContaining("expected hessian, mse or none");
    }

    @Test
    void theirErrorsAreSquared() {
        assertThatThrownBy(() -> clip(Map.of(), Map.of("clip", "output", "clipNorm", 2.4)))
                .isInstanceOf(RecipeException.class)
                .hasMessageContaining("errors of outputs are squared");
    }
}
