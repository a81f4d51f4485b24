// SPDX-License-Identifier: Apache-2.0
package io.llmc.cli;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.offset;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import io.llmc.formats.checkpoint.Checkpoint;
import io.llmc.formats.checkpoint.TensorReader;
import io.llmc.gpu.StandIn;
import io.llmc.tensor.DType;
import io.llmc.tensor.Tensor;
import java.io.IOException;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.stream.Stream;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/// Whole commands on a GPU, which is the stand-in driver's, beside the same commands on the CPU.
@Tag("long")
class GpuIT {
    private static final Path MODEL = Cli.TALE_LLAMA;
    private static final Path TEXT = MODEL.resolve("calibration.txt");

    @TempDir private Path dir;

    @BeforeAll
    static void standIn() {
        var problem = StandIn.install();
        assumeTrue(problem.isEmpty(), problem.orElse(""));
    }

    @AfterEach
    void restore() {
        for (String key : new String[] {"memory", "devices", "version", "fail"}) {
            StandIn.set(key, "");
        }
    }

    private static Cli done(Cli cli) {
        assertThat(cli.exit()).as(cli.err()).isZero();
        return cli;
    }

    private Path run(String device, String command, Object... more) {
        Path out = dir.resolve(command + "-" + device.replaceAll("\\W", "") + "-" + more.length);
        List<Object> words = new ArrayList<>(List.of(command, MODEL, "-o", out));
        words.addAll(List.of(more));
        words.addAll(List.of("--device", device, "--math", "portable"));
        done(Cli.run(words.toArray()));
        return out;
    }

    private static Object[] calibrated(Object... more) {
        List<Object> words = new ArrayList<>(List.of(more));
        words.addAll(List.of("--calib-data", TEXT, "--calib-samples", 2, "--calib-length", 48));
        return words.toArray();
    }

    @Test
    void roundingGivesTheSameBytes() throws IOException {
        Object[] how = {"--method", "rtn", "--bits", 4, "--group-size", 64};
        assertSameFile(
                run("cuda:0", "quantize", how), run("cpu", "quantize", how), "model.safetensors");
    }

    @Test
    void gptqGivesTheSameCodes() throws IOException {
        // One layer of each block: a code that differs changes the inputs of all that follow.
        Object[] how = {
            "--method",
            "gptq",
            "--bits",
            4,
            "--group-size",
            64,
            "--targets",
            "*.0.self_attn.q_proj,*.1.self_attn.o_proj,*.2.mlp.down_proj",
            "--calib-data",
            TEXT,
            "--calib-samples",
            3,
            "--calib-length",
            128
        };
        Path gpu = run("cuda:0", "quantize", how);
        Path cpu = run("cpu", "quantize", how);
        assertThat(sameCodes(gpu, cpu)).isGreaterThan(0.998);
        assertThat(loss(gpu, "cuda:0")).isCloseTo(loss(gpu, "cpu"), offset(1e-4));
    }

    @Test
    void wandaPrunesTheSameWeights() throws IOException {
        Object[] how = calibrated("--method", "wanda", "--sparsity", "0.5");
        assertThat(sameZeros(run("cuda:0", "prune", how), run("cpu", "prune", how)))
                .isGreaterThan(0.999);
    }

    @Test
    void sparseGptPrunesTheSameWeights() throws IOException {
        Object[] how =
                calibrated(
                        "--method",
                        "sparsegpt",
                        "--pattern",
                        "2:4",
                        "--targets",
                        "*.1.mlp.down_proj");
        assertThat(sameZeros(run("cuda:0", "prune", how), run("cpu", "prune", how)))
                .isGreaterThan(0.998);
    }

    @Test
    void widthLeavesTheSameModel() throws IOException {
        Object[] how =
                calibrated(
                        "--method", "width", "--ffn", 368, "--heads", "0.5", "--multiple-of", 16);
        Path gpu = run("cuda:0", "prune", how);
        Path cpu = run("cpu", "prune", how);
        assertThat(loss(gpu, "cpu")).isCloseTo(loss(cpu, "cpu"), offset(2e-3));
    }

    @Test
    void evaluationGivesTheSameLoss() throws IOException {
        assertThat(loss(MODEL, "cuda:0")).isCloseTo(loss(MODEL, "cpu"), offset(1e-4));
    }

    @Test
    void generationGivesTheSameTexts() throws IOException {
        Path prompts = dir.resolve("prompts.txt");
        Files.write(prompts, List.of("Once upon a time there was a", "Berrin", "The old baker"));
        assertThat(texts(prompts, "cuda:0")).isEqualTo(texts(prompts, "cpu"));
    }

    private static String texts(Path prompts, String device) {
        return done(Cli.run(
                        "generate",
                        MODEL,
                        "--prompts",
                        prompts,
                        "--max-tokens",
                        9,
                        "--device",
                        device))
                .out();
    }

    @Test
    void fiveStepsOfDistillationGiveTheSameLosses() throws IOException {
        Path student = run("cpu", "prune", "--method", "layers", "--layers", "1");
        List<Double> gpu = trainingLosses(student, "cuda:0");
        List<Double> cpu = trainingLosses(student, "cpu");
        assertThat(gpu).hasSize(5).hasSameSizeAs(cpu);
        for (int i = 0; i < gpu.size(); i++) {
            assertThat(gpu.get(i)).isCloseTo(cpu.get(i), offset(1e-4));
        }
    }

    private List<Double> trainingLosses(Path student, String device) throws IOException {
        Path out = dir.resolve("taught-" + device.replaceAll("\\W", ""));
        done(
                Cli.run(
                        "distill",
                        student,
                        "-o",
                        out,
                        "--teacher",
                        MODEL,
                        "--data",
                        TEXT,
                        "--steps",
                        5,
                        "--batch",
                        1,
                        "--length",
                        32,
                        "--holdout",
                        0,
                        "--device",
                        device,
                        "--math",
                        "portable"));
        List<Double> losses = new ArrayList<>();
        for (String line : Files.readAllLines(out.resolve("train-log.jsonl"))) {
            JsonNode entry = new ObjectMapper().readTree(line);
            if (entry.has("loss")) {
                losses.add(entry.get("loss").asDouble());
            }
        }
        return losses;
    }

    /// What a real bus and a real queue of launches would make slow does not happen.
    @Test
    void weightsCrossTheBusOnceAndColumnsAreNotLaunchedOneByOne() throws IOException {
        long up = StandIn.count("bytes up");
        long down = StandIn.count("bytes down");
        long loops = StandIn.count("launches of obs_round");
        long launches = StandIn.count("launches");
        Path out = run("cuda:0", "quantize", calibrated("--method", "gptq", "--group-size", 64));
        long source = Files.size(MODEL.resolve("model.safetensors"));
        long written = Files.size(out.resolve("model.safetensors"));
        // The model, and once more what was written, to verify it; beside them ids, tables of
        // positions, orders of columns.
        assertThat(StandIn.count("bytes up") - up).isLessThan(source + written + 500_000);
        // What is written, and figures for the report; no activations.
        assertThat(StandIn.count("bytes down") - down).isLessThan(written + 500_000);
        // 192 inputs are two blocks of columns, 512 are four.
        assertThat(StandIn.count("launches of obs_round") - loops).isEqualTo(3 * (6 * 2 + 4));
        assertThat(StandIn.count("launches") - launches).isLessThan(3 * 600);
    }

    @Test
    void twoDevicesGiveTheBytesOfOne() throws IOException {
        StandIn.set("devices", "2");
        Object[] how =
                calibrated(
                        "--method",
                        "gptq",
                        "--bits",
                        4,
                        "--group-size",
                        64,
                        "--targets",
                        "*.0.self_attn.*");
        assertSameFile(
                run("cuda:0,cuda:1", "quantize", how),
                run("cuda:0", "quantize", how),
                "model.safetensors");
    }

    @Test
    void devicesThatCannotShareAreRefused() {
        for (String devices : new String[] {"cuda:0,cpu", "cuda:0,cuda:0"}) {
            Cli cli = Cli.run("eval", MODEL, "--data", TEXT, "--device", devices);
            assertThat(cli.exit()).isEqualTo(1);
            assertThat(cli.err()).contains("--device " + devices, "cuda:0,cuda:1");
        }
    }

    /// Everything from the arguments to the sentence; nothing is left behind.
    @Test
    void aDeviceThatIsNotThereIsRefused() {
        Cli cli =
                Cli.run(
                        "quantize",
                        MODEL,
                        "-o",
                        dir.resolve("x"),
                        "--method",
                        "rtn",
                        "--device",
                        "cuda:9");
        assertThat(cli.exit()).isEqualTo(1);
        assertThat(cli.err()).contains("--device cuda:9", "no such device", "cuda:0");
        assertThat(dir.resolve("x")).doesNotExist();
    }

    @Test
    void anOldDriverIsRefused() {
        StandIn.set("version", "10020");
        Cli cli =
                Cli.run(
                        "quantize",
                        MODEL,
                        "-o",
                        dir.resolve("x"),
                        "--method",
                        "rtn",
                        "--device",
                        "cuda:0");
        assertThat(cli.exit()).isEqualTo(1);
        assertThat(cli.err()).contains("CUDA 10.2", "CUDA 11.0 or newer");
    }

    @Test
    void tooLittleMemoryNamesTheBlockAndWhatItNeeds() {
        StandIn.set("memory", String.valueOf(2 << 20));
        Cli cli =
                Cli.run(
                        "quantize",
                        MODEL,
                        "-o",
                        dir.resolve("x"),
                        "--method",
                        "rtn",
                        "--device",
                        "cuda:0");
        assertThat(cli.exit()).isEqualTo(1);
        assertThat(cli.err()).contains("block 0", "cuda:0", "needs", "--device cpu");
    }

    @Test
    void aKernelThatFailsLeavesTheJournalAndTheCpuGoesOn() throws IOException {
        Path out = dir.resolve("survivor");
        Object[] words = {
            "quantize",
            MODEL,
            "-o",
            out,
            "--method",
            "rtn",
            "--bits",
            4,
            "--group-size",
            64,
            "--math",
            "portable",
            "--device"
        };
        StandIn.set("fail", "round_to_grid:17");
        Cli failed = Cli.run(with(words, "cuda:0"));
        assertThat(failed.exit()).as(failed.err()).isEqualTo(1);
        assertThat(failed.err()).contains("cuda:0", "LAUNCH_FAILED", "--device cpu");
        assertThat(out).doesNotExist();
        done(Cli.run(with(words, "cpu")));
        assertSameFile(
                out,
                run("cpu", "quantize", "--method", "rtn", "--bits", 4, "--group-size", 64),
                "model.safetensors");
    }

    /// What is not written down after each block is computed again.
    @Test
    void aRunThatFailedGoesOnToTheSameBytes() throws IOException {
        Object[] how = calibrated("--method", "gptq", "--bits", 4, "--group-size", 64);
        Path calm = run("cuda:0", "quantize", how);
        Path out = dir.resolve("survivor");
        Object[] words =
                Stream.concat(
                                Stream.of("quantize", MODEL, "-o", out, "--math", "portable"),
                                Stream.concat(Stream.of(how), Stream.of("--device", "cuda:0")))
                        .toArray();
        // In the third block.
        StandIn.set("fail", "obs_round:36");
        assertThat(Cli.run(words).exit()).isEqualTo(1);
        Cli again = done(Cli.run(words));
        assertThat(again.err()).contains("continuing after block 2 of 3");
        assertSameFile(out, calm, "model.safetensors");
    }

    @Test
    void aSmallerCapGivesTheSameBytes() throws IOException {
        Object[] how = calibrated("--method", "gptq", "--targets", "*.1.mlp.*");
        Object[] capped =
                calibrated("--method", "gptq", "--targets", "*.1.mlp.*", "--memory", "24M");
        assertSameFile(
                run("cuda:0", "quantize", capped),
                run("cuda:0", "quantize", how),
                "model.safetensors");
    }

    private static Object[] with(Object[] words, Object last) {
        return Stream.concat(Stream.of(words), Stream.of(last)).toArray();
    }

    private double loss(Path model, String device) throws IOException {
        Path json = dir.resolve("eval.json");
        done(
                Cli.run(
                        "eval",
                        model,
                        "--data",
                        MODEL.resolve("test.txt"),
                        "--window",
                        64,
                        "--max-windows",
                        2,
                        "--device",
                        device,
                        "--math",
                        "portable",
                        "--json",
                        json));
        JsonNode result = new ObjectMapper().readTree(Files.readString(json));
        return Math.log(result.findValue("perplexity").asDouble());
    }

    private static void assertSameFile(Path one, Path other, String name) throws IOException {
        assertThat(Files.mismatch(one.resolve(name), other.resolve(name)))
                .as("first differing byte of %s in %s and %s", name, one, other)
                .isEqualTo(-1);
    }

    /// The share of equal 4-bit codes.
    private static double sameCodes(Path one, Path other) {
        return share(
                one,
                other,
                DType.I32,
                (a, b, i) -> {
                    int x = a.getAtIndex(ValueLayout.JAVA_INT_UNALIGNED, i);
                    int y = b.getAtIndex(ValueLayout.JAVA_INT_UNALIGNED, i);
                    int same = 0;
                    for (int shift = 0; shift < 32; shift += 4) {
                        same += (x >>> shift & 15) == (y >>> shift & 15) ? 1 : 0;
                    }
                    return same / 8.0;
                });
    }

    /// The share of weights that are zero in both or in none.
    private static double sameZeros(Path one, Path other) {
        return share(
                one,
                other,
                DType.BF16,
                (a, b, i) ->
                        (a.getAtIndex(ValueLayout.JAVA_SHORT_UNALIGNED, i) == 0)
                                        == (b.getAtIndex(ValueLayout.JAVA_SHORT_UNALIGNED, i) == 0)
                                ? 1
                                : 0);
    }

    private interface Compare {
        double element(MemorySegment a, MemorySegment b, long i);
    }

    private static double share(Path one, Path other, DType type, Compare compare) {
        double same = 0;
        double all = 0;
        try (Checkpoint a = Checkpoint.open(one);
                Checkpoint b = Checkpoint.open(other);
                TensorReader x = a.reader();
                TensorReader y = b.reader()) {
            for (String name : a.names()) {
                Tensor t = x.tensor(name);
                if (t.dtype() == type && t.shape().rank() == 2) {
                    MemorySegment left = t.bytes();
                    MemorySegment right = y.tensor(name).bytes();
                    for (long i = 0; i < t.shape().size(); i++) {
                        same += compare.element(left, right, i);
                        all++;
                    }
                }
            }
        }
        assertThat(all).isPositive();
        return same / all;
    }
}
