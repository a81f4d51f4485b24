// SPDX-License-Identifier: Apache-2.0
package io.llmc.quantize;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.llmc.backend.Backend;
import io.llmc.backend.BackendOptions;
import io.llmc.backend.cpu.CpuBackend;
import io.llmc.formats.TestFiles;
import io.llmc.formats.UserException;
import io.llmc.pipeline.ModuleReport;
import io.llmc.pipeline.Options;
import io.llmc.pipeline.Progress;
import io.llmc.pipeline.Recipe;
import io.llmc.pipeline.sweep.SweepResult;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/// GPTQ with a correction and a refit, then learned rounding: passes that look at the original
/// model beside the compressed one.
class RefinedSweepTest {
    private static final Map<String, Object> GPTQ =
            Map.of(
                    "gptq",
                    Map.of(
                            "bits",
                            3,
                            "groupSize",
                            64,
                            "correction",
                            0.5,
                            "refit",
                            2,
                            "shrinkage",
                            0.3));

    private static final Map<String, Object> LEARN = Map.of("steps", 6, "batch", 2);

    @TempDir static Path shared;
    private static byte[] undisturbed;

    @TempDir Path temp;

    @BeforeAll
    static void runUndisturbed() throws Exception {
        run(chain(GPTQ, LEARN, "compressed-tensors"), shared.resolve("out"), 2);
        undisturbed = Files.readAllBytes(shared.resolve("out").resolve("model.safetensors"));
    }

    private static Recipe chain(
            Map<String, Object> first, Map<String, Object> learn, String layout) {
        return chain(
                first.isEmpty()
                        ? List.of(Map.of("learn", learn))
                        : List.of(first, Map.of("learn", learn)),
                layout);
    }

    private static Recipe chain(List<Map<String, Object>> passes, String layout) {
        Path model = TestFiles.testdata().resolve("tale-llama");
        String data = model.resolve("calibration.txt").toString();
        Map<String, Object> tree = new LinkedHashMap<>();
        tree.put("model", model.toString());
        tree.put("output", "unused");
        tree.put("calibration", Map.of("data", data, "samples", 8, "length", 64));
        tree.put("steps", List.of(Map.of("sweep", passes)));
        tree.put("save", Map.of("layout", layout));
        return Recipe.read(Options.of(tree), SweepTest.STEPS, tree);
    }

    private static SweepResult run(Recipe recipe, Path out, int threads) {
        try (Backend backend =
                new CpuBackend(new BackendOptions(threads, BackendOptions.Math.AUTO))) {
            return SweepTest.run(recipe, out, backend, Long.MAX_VALUE, Progress.NONE);
        }
    }

    @Test
    void learningBringsABlockNearerToTheOriginal() {
        Map<String, Object> rtn = Map.of("rtn", Map.of("bits", 3, "groupSize", 64));
        Map<String, Object> learn = Map.of("steps", 12, "batch", 4, "rate", 0.05);
        SweepResult learnt = run(chain(rtn, learn, "gptq"), temp.resolve("out"), 2);
        List<ModuleReport> reports =
                learnt.reports().stream()
                        .filter(r -> r.values().get("method").equals("learn"))
                        .toList();
        assertThat(reports).hasSize(21);
        for (ModuleReport r : reports) {
            double before = (Double) r.values().get("block_distance_before");
            assertThat((Double) r.values().get("block_distance")).isLessThan(before);
        }
    }

    /// The original's channels are scaled as those of the compressed model are: where they were
    /// not, the correction would be one towards other numbers.
    @Test
    void aCorrectionSeesScaledChannels() {
        double[] without = distances(0);
        double[] with = distances(0.7);
        for (int block = 0; block < with.length; block++) {
            assertThat(with[block]).as("block %d", block).isLessThan(0.97 * without[block]);
        }
    }

    /// Of each block's output from the original's, behind AWQ and GPTQ.
    private double[] distances(double correction) {
        Map<String, Object> gptq =
                Map.of("bits", 3, "groupSize", 64, "correction", correction, "damping", 0.1);
        // A step that is too small to move a code: its report has the distance.
        Map<String, Object> look = Map.of("steps", 1, "batch", 1, "rate", 1e-12, "rangeRate", 0.0);
        Recipe recipe =
                chain(
                        List.of(
                                Map.of("awq", Map.of("clamp", false)),
                                Map.of("gptq", gptq),
                                Map.of("learn", look)),
                        "compressed-tensors");
        return run(recipe, temp.resolve("out" + correction), 2).reports().stream()
                .filter(r -> r.values().get("method").equals("learn"))
                .filter(r -> r.module().endsWith("q_proj"))
                .mapToDouble(r -> (Double) r.values().get("block_distance_before"))
                .toArray();
    }

    @Test
    void threadsAndSpillingDoNotChangeABit() throws Exception {
        Path out = temp.resolve("out");
        Recipe recipe = chain(GPTQ, LEARN, "compressed-tensors");
        try (Backend backend = new CpuBackend(new BackendOptions(1, BackendOptions.Math.AUTO))) {
            long free = SweepTest.plan(recipe, out, backend, Long.MAX_VALUE).peakBytes();
            assertThat(SweepTest.plan(recipe, out, backend, free - 1).spills()).isTrue();
            SweepTest.run(recipe, out, backend, free - 1, Progress.NONE);
        }
        assertThat(Files.readAllBytes(out.resolve("model.safetensors"))).isEqualTo(undisturbed);
    }

    @Test
    void aRunThatDiedContinues() throws Exception {
        Path out = temp.resolve("out");
        Recipe recipe = chain(GPTQ, LEARN, "compressed-tensors");
        try (Backend backend = new CpuBackend(BackendOptions.defaults())) {
            assertThatThrownBy(() ->
                            SweepTest.run(
                                    recipe, out, backend, Long.MAX_VALUE, SweepTest.dyingAfter(1)))
                    .isInstanceOf(SweepTest.Killed.class);
        }
        assertThat(run(recipe, out, 2).resumedBlocks()).isEqualTo(2);
        assertThat(Files.readAllBytes(out.resolve("model.safetensors"))).isEqualTo(undisturbed);
    }

    @Test
    void whatCannotBeRefinedIsRefused() {
        Path out = temp.resolve("out");
        assertThatThrownBy(() -> run(chain(Map.of(), LEARN, "compressed-tensors"), out, 1))
                .isInstanceOf(UserException.class)
                .hasMessageContaining("learn refines codes, and nothing before it has rounded");
        assertThatThrownBy(() -> run(chain(GPTQ, LEARN, "dense"), out, 1))
                .isInstanceOf(UserException.class)
                .hasMessageContaining("layout dense keeps none");
        Map<String, Object> group =
                Map.of("gptq", Map.of("bits", 4, "groupSize", 64, "actOrder", "group"));
        assertThatThrownBy(() -> run(chain(group, LEARN, "gptq"), out, 1))
                .isInstanceOf(UserException.class)
                .hasMessageContaining("follow the order of activations");
    }
}
