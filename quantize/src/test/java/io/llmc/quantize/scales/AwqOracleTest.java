// SPDX-License-Identifier: Apache-2.0
package io.llmc.quantize.scales;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.withinPercentage;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import io.llmc.backend.Backend;
import io.llmc.backend.BackendOptions;
import io.llmc.backend.CompressionOp;
import io.llmc.backend.Desk;
import io.llmc.backend.ForwardOp;
import io.llmc.backend.StatisticOp;
import io.llmc.backend.cpu.CpuBackend;
import io.llmc.formats.TestFiles;
import io.llmc.quantize.scales.AwqMath.Duo;
import io.llmc.solver.Npy;
import io.llmc.tensor.DType;
import io.llmc.tensor.Encoding;
import io.llmc.tensor.Tensor;
import io.llmc.tensor.Weight;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/// A block against what the reference implementation (mit-han-lab/llm-awq, untouched) made of it: 4
/// bits in groups of 128 with zero points.
class AwqOracleTest {
    private static final Encoding.Grid<?> GRID = Encoding.ints(4, 128, false);
    private static final AwqMath.Ratios RATIOS = new AwqMath.Ratios(20, Duo.WITHOUT);

    private Path oracles;
    private JsonNode results;
    private Backend backend;
    private Desk d;

    @BeforeEach
    @SuppressWarnings("MustBeClosed") // the desk closes its arena
    void open() throws Exception {
        oracles = TestFiles.shared("oracles/layers/awq_768");
        assumeTrue(Files.isDirectory(oracles), "no ../shared/oracles: skipped");
        results = new ObjectMapper().readTree(oracles.resolveSibling("results.json").toFile());
        backend = new CpuBackend(BackendOptions.defaults());
        d = new Desk(backend, backend.newArena(1 << 26));
    }

    @AfterEach
    void close() {
        if (backend != null) {
            d.close();
            backend.close();
        }
    }

    private Tensor read(String name) {
        Npy npy = Npy.read(oracles.resolve(name + ".npy"));
        return d.floats(npy.values()).reshape(npy.rows(), npy.values().length / npy.rows());
    }

    private double[] activity(Tensor x) {
        Tensor sums = d.allocate(DType.F64, x.cols());
        d.run(new ForwardOp.Zero(sums));
        d.run(new StatisticOp.AccumulateColumnNorms(sums, x, 1));
        double[] means = backend.doubles(sums);
        for (int c = 0; c < means.length; c++) {
            means[c] /= x.rows();
        }
        return means;
    }

    /// `Q(W s) / s`
    private Tensor rounded(Desk in, Tensor w, float[] scales) {
        Tensor trial = in.f32(w.rows(), w.cols());
        in.run(new CompressionOp.ScaleColumns(trial, w, in.floats(scales)));
        Rounding.round(in, trial, GRID);
        in.run(
                new CompressionOp.ScaleColumns(
                        trial, trial, in.floats(ChannelScales.inverse(scales))));
        return trial;
    }

    private double error(Tensor x, Tensor w, Tensor trial) {
        try (Desk own = d.fresh(1 << 24)) {
            Tensor change = own.f32(w.rows(), w.cols());
            Tensor out = own.f32(x.rows(), w.rows());
            own.run(new ForwardOp.Add(change, trial, w, -1));
            own.run(new ForwardOp.Matmul(out, x, new Weight.Dense(change)));
            return backend.squares(out);
        }
    }

    private void assertFound(AwqMath.Found found, String group, Tensor x, List<Tensor> weights) {
        JsonNode want = results.at("/awq_768").get(group);
        assertThat(found.ratio()).isEqualTo(want.get("best_ratio").asDouble());
        float[] scales = Npy.read(oracles.resolve(group + "_awq_scales.npy")).values();
        for (int c = 0; c < scales.length; c++) {
            assertThat((double) found.scales()[c]).isCloseTo(scales[c], withinPercentage(0.01));
        }
        for (int i = 0; i < weights.size(); i++) {
            JsonNode errors = want.get("errs").get(want.get("layers").get(i).asText());
            Tensor w = weights.get(i);
            try (Desk own = d.fresh(1 << 23)) {
                assertThat(error(x, w, rounded(own, w, found.scales())))
                        .isCloseTo(errors.get("err_awq").asDouble(), withinPercentage(0.1));
            }
        }
    }

    @ParameterizedTest
    @ValueSource(strings = {"self_attn.out_proj", "fc1", "fc2"})
    void scalesOfOneLayerAreTheReferences(String name) {
        Tensor w = read(name + "_W");
        Tensor x = read(name + "_X");
        AwqMath.Found found =
                AwqMath.search(
                        activity(x),
                        null,
                        RATIOS,
                        scales -> {
                            try (Desk own = d.fresh(1 << 23)) {
                                return error(x, w, rounded(own, w, scales));
                            }
                        });
        assertFound(found, name, x, List.of(w));
        assertThat(found.error()).isLessThan(found.unscaled());
    }

    /// The reference's stub adds the projections up in attention's place.
    @Test
    void scalesOfTheProjectionsAreSearchedOnWhatAttentionGives() {
        List<Tensor> weights =
                List.of(
                        read("self_attn.q_proj_W"),
                        read("self_attn.k_proj_W"),
                        read("self_attn.v_proj_W"));
        Tensor x = read("self_attn.q_proj_X");
        Tensor out = read("self_attn.out_proj_W");
        Trial trial =
                scales -> {
                    try (Desk own = d.fresh(1 << 24)) {
                        Tensor sum = own.f32(768, 768);
                        Tensor added = own.f32(x.rows(), 768);
                        Tensor y = own.f32(x.rows(), 768);
                        own.run(new ForwardOp.Zero(sum));
                        for (Tensor w : weights) {
                            try (Desk scratch = own.fresh(1 << 23)) {
                                Tensor rounded = rounded(scratch, w, scales);
                                own.run(new ForwardOp.Add(sum, sum, rounded, 1));
                                own.run(new ForwardOp.Add(sum, sum, w, -1));
                            }
                        }
                        own.run(new ForwardOp.Matmul(added, x, new Weight.Dense(sum)));
                        own.run(new ForwardOp.Matmul(y, added, new Weight.Dense(out)));
                        return backend.squares(y);
                    }
                };
        AwqMath.Found found = AwqMath.search(activity(x), null, RATIOS, trial);
        assertFound(found, "self_attn.q_proj", x, weights);
    }

    @Test
    void limitsAreTheReferences() {
        Tensor w = read("fc1_W");
        Tensor all = read("fc1_X");
        int[] every = new int[512];
        Arrays.setAll(every, i -> 2 * i);
        Tensor x = d.f32(512, all.cols());
        d.run(new ForwardOp.GatherRows(x, all, d.ints(every)));
        Tensor limits = d.f32(w.rows(), 6);
        AwqMath.limits(d, limits, w, x, GRID, AwqMath.Shrinking.DEFAULT);
        float[] want = Npy.read(oracles.resolve("fc1_awq_clip_maxval.npy")).values();
        float[] got = backend.floats(limits);
        for (int i = 0; i < want.length; i++) {
            assertThat(got[i]).isEqualTo(want[i]);
        }
        Tensor clamped = d.f32(w.rows(), w.cols());
        d.run(new CompressionOp.Clamp(clamped, w, limits));
        Rounding.round(d, clamped, GRID);
        assertThat(error(all, w, clamped))
                .isCloseTo(
                        results.at("/awq_768/fc1_clip_only/err").asDouble(), withinPercentage(0.1));
    }
}
