// SPDX-License-Identifier: Apache-2.0
package io.llmc.cli;

import static org.assertj.core.api.Assertions.assertThat;

import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/// What cannot work is refused in one sentence, before anything is written.
class BadInputIT {
    private static final String Q_PROJ = "model.layers.1.self_attn.q_proj.weight";

    @TempDir private Path dir;

    private BrokenModel broken() throws IOException {
        return BrokenModel.copyOf(Cli.TINY_LLAMA, dir.resolve("model"));
    }

    private Path out() {
        return dir.resolve("out");
    }

    /// Quantizes without data, and expects one sentence.
    private void refused(Path model, String... words) throws IOException {
        refused(
                Cli.run(
                        "quantize",
                        model,
                        "-o",
                        out(),
                        "--method",
                        "rtn",
                        "--group-size",
                        "32",
                        "-q"),
                words);
        assertThat(Files.exists(out())).isFalse();
    }

    private static void refused(Cli cli, String... words) {
        assertThat(cli.exit()).as(cli.err()).isEqualTo(ExitCode.FAILED);
        assertThat(cli.err()).startsWith("llmc: ").contains(words);
        assertThat(cli.err().lines()).as(cli.err()).hasSize(1);
        assertThat(cli.out()).isEmpty();
    }

    /// Nothing lies beside the model: no output, no working directory.
    private void nothingWritten() throws IOException {
        try (Stream<Path> files = Files.list(dir)) {
            assertThat(files.map(f -> f.getFileName().toString())).containsExactly("model");
        }
    }

    @Test
    void missingAndEmptyDirectories() throws IOException {
        refused(dir.resolve("nowhere"), "nowhere", "no such directory");
        refused(Files.createDirectory(dir.resolve("model")), "no config.json");
        nothingWritten();
        refused(Files.createFile(dir.resolve("file")), "file", "is a file");
    }

    @Test
    void missingConfigAndWeights() throws IOException {
        refused(broken().without("config.json").directory(), "no config.json");
        nothingWritten();
    }

    @Test
    void noWeights() throws IOException {
        refused(broken().without("model.safetensors").directory(), "safetensors");
    }

    @Test
    void configThatIsNotJson() throws IOException {
        Path model = broken().directory();
        Files.writeString(model.resolve("config.json"), "{");
        refused(model, "config.json");
    }

    @Test
    void unknownArchitecture() throws IOException {
        Path model = broken().config(c -> c.put("model_type", "rwkv9")).directory();
        refused(model, "rwkv9", "llmc architectures");
    }

    @Test
    void unknownArchitectureOfAKnownFamily() throws IOException {
        Path model = broken().config(c -> c.put("model_type", "qwen9")).directory();
        refused(model, "qwen9", "next of kin is qwen");
    }

    @Test
    void truncatedWeights() throws IOException {
        long size = Files.size(Cli.TINY_LLAMA.resolve("model.safetensors"));
        refused(broken().truncated(size - 10).directory(), "model.safetensors");
        nothingWritten();
    }

    @Test
    void truncatedHeader() throws IOException {
        refused(broken().truncated(100).directory(), "model.safetensors");
    }

    @Test
    void emptyWeights() throws IOException {
        refused(broken().truncated(0).directory(), "model.safetensors");
    }

    @Test
    void headerLongerThanTheFile() throws IOException {
        refused(broken().headerLength(1L << 40).directory(), "model.safetensors");
    }

    @Test
    void headerOfAnUnsignedLength() throws IOException {
        refused(broken().headerLength(Long.MIN_VALUE).directory(), "model.safetensors");
    }

    @Test
    void overlappingTensors() throws IOException {
        Path model = broken().header(h -> offsets(h, Q_PROJ, 0, 64 * 64 * 2)).directory();
        refused(model, "model.safetensors");
    }

    @Test
    void tensorOutsideOfTheFile() throws IOException {
        Path model =
                broken().header(h -> offsets(h, Q_PROJ, 1L << 40, (1L << 40) + 8192)).directory();
        refused(model, "model.safetensors", Q_PROJ);
    }

    @Test
    void tensorOfTheLargestLength() throws IOException {
        Path model =
                broken().header(h ->
                                ((ObjectNode) h.get(Q_PROJ))
                                        .putArray("shape")
                                        .add(Long.MAX_VALUE)
                                        .add(Long.MAX_VALUE))
                        .directory();
        refused(model, "model.safetensors", Q_PROJ);
    }

    private static void offsets(ObjectNode header, String tensor, long begin, long end) {
        ((ObjectNode) header.get(tensor)).putArray("data_offsets").add(begin).add(end);
    }

    @Test
    void duplicateNames() throws IOException {
        BrokenModel model = broken();
        String name = "\"model.norm.weight\"";
        model.headerText(model.headerText().replace("\"" + Q_PROJ + "\"", name));
        refused(model.directory(), "model.safetensors");
    }

    @Test
    void deepHeader() throws IOException {
        refused(
                broken().headerText("{\"a\":" + "[".repeat(100_000) + "}").directory(),
                "model.safetensors");
    }

    @Test
    void missingShard() throws IOException {
        BrokenModel model = broken();
        Files.move(model.weights(), model.directory().resolve("model-00001-of-00002.safetensors"));
        Files.writeString(
                model.directory().resolve("model.safetensors.index.json"),
                """
                {"metadata": {}, "weight_map": {"%s": "model-00002-of-00002.safetensors",
                 "model.norm.weight": "model-00001-of-00002.safetensors"}}
                """
                        .formatted(Q_PROJ));
        refused(model.directory(), "model-00002-of-00002.safetensors");
    }

    @Test
    void missingTensor() throws IOException {
        Path model = broken().header(h -> h.set(Q_PROJ + "x", h.remove(Q_PROJ))).directory();
        refused(model, Q_PROJ);
    }

    @Test
    void tensorOfTheWrongShape() throws IOException {
        Path model =
                broken().header(h ->
                                ((ObjectNode) h.get(Q_PROJ)).putArray("shape").add(32).add(128))
                        .directory();
        refused(model, "model.layers.1.self_attn.q_proj", "32, 128", "64");
    }

    @ParameterizedTest
    @CsvSource({
        "model.norm.weight,I16",
        "model.embed_tokens.weight,U16",
        "model.layers.1.input_layernorm.weight,I16",
    })
    void tensorsOfTypesThatNoModelHas(String tensor, String dtype) throws IOException {
        Path model =
                broken().header(h -> ((ObjectNode) h.get(tensor)).put("dtype", dtype)).directory();
        refused(model, "tensor '" + tensor + "' is " + dtype, "expected F64, F32, F16 or BF16");
        nothingWritten();
    }

    @Test
    void weightsThatAreNotNumbers() throws IOException {
        refused(broken().bf16(Q_PROJ, Float.NaN).directory(), Q_PROJ);
        assertThat(Files.exists(out())).isFalse();
    }

    @Test
    void infiniteWeights() throws IOException {
        refused(
                broken().bf16("model.layers.0.mlp.down_proj.weight", Float.POSITIVE_INFINITY)
                        .directory(),
                "down_proj");
    }

    @Test
    void groupsThatDoNotDivide() throws IOException {
        refused(
                Cli.run(
                        "quantize",
                        broken().directory(),
                        "-o",
                        out(),
                        "--method",
                        "rtn",
                        "--group-size",
                        "48"),
                "48",
                "16, 32, 64",
                "channel");
        nothingWritten();
    }

    @Test
    void targetsThatSelectNothing() throws IOException {
        refused(
                Cli.run(
                        "quantize",
                        broken().directory(),
                        "-o",
                        out(),
                        "--method",
                        "rtn",
                        "--targets",
                        "nope"),
                "targets",
                "q_proj");
    }

    @Test
    void outputThatIsThere() throws IOException {
        Path model = broken().directory();
        Files.createDirectory(out());
        Path precious = Files.writeString(out().resolve("precious.txt"), "mine");
        refused(
                Cli.run("quantize", model, "-o", out(), "--method", "rtn", "--group-size", "32"),
                "not empty",
                "--force");
        assertThat(precious).hasContent("mine");
    }

    @Test
    void noSuchDevice() throws IOException {
        Path model = broken().directory();
        refused(
                Cli.run("quantize", model, "-o", out(), "--method", "rtn", "--device", "cuda:7"),
                "--device cuda:7",
                "cpu");
        nothingWritten();
        refused(
                Cli.run("eval", model, "--data", model.resolve("config.json"), "--device", "tpu"),
                "tpu",
                "cpu");
    }

    @Test
    void noTokenizer() throws IOException {
        Path text = Cli.TALE_LLAMA.resolve("calibration.txt");
        refused(
                Cli.run(
                        "quantize",
                        broken().directory(),
                        "-o",
                        out(),
                        "--group-size",
                        "32",
                        "--calib-data",
                        text,
                        "-q",
                        "--calib-length",
                        "64"),
                "tokenizer.json");
        nothingWritten();
    }

    @Test
    void calibrationTextThatIsTooShortOrMissing() throws IOException {
        Path model = BrokenModel.copyOf(Cli.TALE_LLAMA, dir.resolve("model")).directory();
        Path text = Files.writeString(model.resolve("short.txt"), "Once upon a time.");
        refused(calibrated(model, text), "short.txt", "tokens", "--calib-length");
        refused(calibrated(model, model.resolve("none.txt")), "none.txt", "no such file");
        refused(calibrated(model, Files.writeString(model.resolve("empty.txt"), "")), "empty.txt");
        nothingWritten();
    }

    @Test
    void dataThatAreNoFile() throws IOException {
        Path model = BrokenModel.copyOf(Cli.TALE_LLAMA, dir.resolve("model")).directory();
        refused(calibrated(model, model), model + ": is a directory, expected a file");
        refused(calibrated(model, Path.of("/dev/null")), "/dev/null: is a pipe or a device");
        for (String given : List.of("--teacher", "--save-teacher")) {
            Path other = given.equals("--teacher") ? model : dir.resolve("cache");
            List<Object> args = new ArrayList<>(List.of("distill", given, other, "--data", model));
            args.addAll(
                    given.equals("--teacher")
                            ? List.of(model, "-o", out())
                            : List.of("--teacher", model));
            refused(Cli.run(args.toArray()), model + ": is a directory, expected a file");
        }
        nothingWritten();
    }

    @ParameterizedTest
    @CsvSource({"--seed,3", "--calib-samples,4", "--calib-order,first"})
    void settingsOfACalibrationThatThereIsNot(String flag, String value) {
        Object[] args = {
            "quantize", Cli.TINY_LLAMA, "-o", out(), "--method", "rtn", flag, value, "--dry-run"
        };
        Cli cli = Cli.run(args);
        assertThat(cli.exit()).isEqualTo(ExitCode.USAGE);
        assertThat(cli.err())
                .startsWith("llmc: " + flag + ": ")
                .contains("no method here calibrates; leave it out");
    }

    @Test
    void dataForTheEndAreReadBeforeTheWork() throws IOException {
        Path model = BrokenModel.copyOf(Cli.TALE_LLAMA, dir.resolve("model")).directory();
        Path text = Files.writeString(model.resolve("short.txt"), "Once upon a time.");
        Path records = Files.writeString(model.resolve("a.jsonl"), "{\"txt\": 1}\n");
        for (Path data : List.of(text, records)) {
            Object[] args = {
                "prune", model, "-o", out(), "--method", "magnitude", "--data", data, "-q"
            };
            refused(Cli.run(args), data.toString());
            nothingWritten();
        }
    }

    private Cli calibrated(Path model, Path text) {
        return Cli.run(
                "quantize", model, "-o", out(), "--group-size", "64", "--calib-data", text, "-q");
    }

    @Test
    void evaluationTextThatIsTooShort() throws IOException {
        Path text = Files.writeString(dir.resolve("short.txt"), "Once upon a time.");
        refused(Cli.run("eval", Cli.TALE_LLAMA, "--data", text), "short.txt", "tokens", "--window");
        refused(Cli.run("eval", Cli.TALE_LLAMA, "--data", dir.resolve("none.txt")), "none.txt");
    }

    @Test
    void recipeThatIsMissing() {
        refused(Cli.run("run", dir.resolve("none.yaml")), "none.yaml", "no such file");
    }

    @ParameterizedTest
    @CsvSource(
            delimiter = '|',
            value = {
                "- sweep: | a sweep needs at least one method",
                "- evaluate: | data is missing",
                "- distill: | teacher is missing",
                "- sweep: [{rtn: }, {foo: }] | unknown method foo; known: rtn",
            })
    void namesWithNothingBelow(String step, String sentence) throws IOException {
        String recipe = "model: testdata/tiny-llama\noutput: %s\nsteps:\n  %s\n";
        Path file = Files.writeString(dir.resolve("r.yaml"), recipe.formatted(out(), step));
        Cli cli = Cli.run("run", file, "--dry-run");
        assertThat(cli.exit()).isEqualTo(ExitCode.USAGE);
        assertThat(cli.err()).contains(sentence);
        String defaults = recipe.formatted(out(), "- sweep: [{magnitude: }]");
        Cli whole = Cli.run("run", Files.writeString(file, defaults), "--dry-run");
        assertThat(whole.exit()).as(whole.err()).isEqualTo(ExitCode.OK);
    }

    @Test
    void unknownKeyOfARecipe() throws IOException {
        Path recipe =
                Files.writeString(
                        dir.resolve("recipe.yaml"),
                        """
                        model: testdata/tale-llama
                        output: out
                        steps:
                          - sweep:
                              - rtn:
                                  bits: 4
                                  groupsize: 64
                        """);
        Cli cli = Cli.run("run", recipe);
        assertThat(cli.exit()).isEqualTo(ExitCode.USAGE);
        assertThat(cli.err())
                .startsWith(
                        "llmc: %s:7: unknown key groupsize; did you mean groupSize?"
                                .formatted(recipe));
    }
}
