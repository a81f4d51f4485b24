// SPDX-License-Identifier: Apache-2.0
package io.llmc.cli;

import static org.assertj.core.api.Assertions.assertThat;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.stream.Collectors;
import java.util.stream.IntStream;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.MethodSource;
import org.junit.jupiter.params.provider.ValueSource;

/// Every method of `llmc prune`, and what it refuses.
class PruneIT {
    private static final String SPARSE_FILES =
            "Zeros are stored like other weights: a sparse file is as large as before";
    private static final Map<String, List<String>> FLAGS =
            Map.of(
                    "magnitude", List.of("--pattern", "2:4"),
                    "wanda", List.of("--sparsity", "0.5", "--allocation", "owl"),
                    "sparsegpt", List.of("--sparsity", "0.5"),
                    "layers", List.of("--drop", "1"),
                    "width", List.of("--ffn", "0.75", "--heads", "0.5"),
                    "slice", List.of("--hidden", "224"),
                    "experts", List.of("--keep", "3"),
                    "kv-heads", List.of("--to", "1"));

    @TempDir private Path dir;

    static Stream<String> methods() {
        return Stream.of(
                "magnitude",
                "wanda",
                "sparsegpt",
                "layers",
                "width",
                "slice",
                "experts",
                "kv-heads");
    }

    private static boolean calibrates(String method) {
        return !method.equals("magnitude") && !method.equals("kv-heads");
    }

    private static boolean zeroes(String method) {
        return List.of("magnitude", "wanda", "sparsegpt").contains(method);
    }

    private Path out() {
        return dir.resolve("out");
    }

    /// The bundled model, or for experts a copy of the tiny mixture with a tokenizer of its own.
    private Path model(String method) throws IOException {
        if (!method.equals("experts")) {
            return Cli.TALE_LLAMA;
        }
        Path model = dir.resolve("mixtral");
        if (!Files.exists(model)) {
            BrokenModel.copyOf(Cli.TESTDATA.resolve("tiny-mixtral"), model);
            String words =
                    IntStream.range(0, 256)
                            .mapToObj(i -> "\"w%d\": %d".formatted(i, i))
                            .collect(Collectors.joining(", "));
            Files.writeString(
                    model.resolve("tokenizer.json"),
                    """
                    {"version": "1.0", "added_tokens": [], "pre_tokenizer": {"type": "Whitespace"},
                     "model": {"type": "WordLevel", "vocab": {%s}, "unk_token": "w0"}}
                    """
                            .formatted(words));
            Files.writeString(
                    model.resolve("calibration.txt"),
                    IntStream.range(0, 4000)
                            .mapToObj(i -> "w" + i * 7919 % 256)
                            .collect(Collectors.joining(" ")));
        }
        return model;
    }

    private Cli prune(String method, Object... more) throws IOException {
        Path model = model(method);
        List<Object> args = new ArrayList<>(List.of("prune", model, "-o", out()));
        args.addAll(List.of("--method", method));
        args.addAll(FLAGS.get(method));
        if (calibrates(method)) {
            args.addAll(List.of("--calib-data", model.resolve("calibration.txt")));
            args.addAll(List.of("--calib-samples", "8", "--calib-length", "64"));
        }
        args.addAll(List.of(more));
        return Cli.run(args.toArray());
    }

    private static void done(Cli cli) {
        assertThat(cli.exit()).as(cli.err()).isEqualTo(ExitCode.OK);
    }

    private void nothingWritten() throws IOException {
        try (Stream<Path> files = Files.list(dir)) {
            assertThat(files.map(f -> f.getFileName().toString()))
                    .isSubsetOf("mixtral", "quantized");
        }
    }

    // ---------------------------------------------------------------- what works

    @Test
    void everyMethodIsTried() {
        assertThat(io.llmc.prune.PrunePasses.ALL)
                .map(io.llmc.pipeline.pass.PassFactory::name)
                .containsExactlyElementsOf(methods().toList());
    }

    @ParameterizedTest
    @MethodSource("methods")
    void everyMethodSaysWhatItDid(String method) throws IOException {
        Path json = dir.resolve("result.json");
        Cli cli = prune(method, "--json", json);
        done(cli);
        assertThat(cli.out()).contains("verified", "read back, equal what was in memory");
        JsonNode result = new ObjectMapper().readTree(json.toFile());
        long before = result.path("input_parameters").asLong();
        long after = result.path("output_parameters").asLong();
        long zeros = result.path("zeros").asLong();
        if (zeroes(method)) {
            assertThat(cli.out()).contains("zeros", SPARSE_FILES).doesNotContain("parameters");
            assertThat(after).isEqualTo(before);
            // Half of the weights inside the blocks.
            long inside = 3 * (2 * 256 * 256 + 2 * 128 * 256 + 3 * 512 * 256);
            assertThat((double) zeros / inside).isBetween(0.495, 0.505);
        } else {
            assertThat(cli.out()).containsPattern("parameters +[0-9.]+ ?M? -> ");
            assertThat(cli.out()).doesNotContain("Zeros are stored");
            assertThat(zeros).isZero();
            assertThat(after).isLessThan(before);
        }
        assertThat(result.path("verified_tensors").asInt()).isPositive();
        assertThat(result.path("modules").size()).isPositive();
        result.path("modules")
                .forEach(m -> assertThat(m.path("method").asText()).isEqualTo(method));
        assertThat(Cli.run("inspect", out()).exit()).isZero();
        assertThat(out().resolve("llmc.json")).exists();
    }

    @ParameterizedTest
    @MethodSource("methods")
    void aDryRunWritesNothing(String method) throws IOException {
        Cli cli = prune(method, "--dry-run");
        done(cli);
        assertThat(cli.out()).contains("nothing is written", "parameters", "memory");
        assertThat(cli.err()).isEmpty();
        nothingWritten();
    }

    @ParameterizedTest
    @MethodSource("methods")
    void aPrintedRecipeRunsTheSame(String method) throws IOException {
        Cli printed = prune(method, "--print-recipe");
        done(printed);
        Path recipe = Files.writeString(dir.resolve("recipe.yaml"), printed.out());
        assertThat(Cli.run("run", recipe, "--print-recipe").out()).isEqualTo(printed.out());
        Cli planned = Cli.run("run", recipe, "--dry-run");
        done(planned);
        assertThat(planned.out()).isEqualTo(prune(method, "--dry-run").out());
    }

    @Test
    void dataCompareTheResultWithTheOriginal() throws IOException {
        Path json = dir.resolve("result.json");
        Path text = Cli.TALE_LLAMA.resolve("test.txt");
        Cli cli =
                prune(
                        "sparsegpt",
                        "--data",
                        text,
                        "--window",
                        "128",
                        "--max-windows",
                        "2",
                        "--json",
                        json);
        done(cli);
        assertThat(cli.out()).contains("perplexity ratio (gptq)", "KL divergence");
        JsonNode evaluated = new ObjectMapper().readTree(json.toFile()).path("steps").path(1);
        assertThat(evaluated.path("perplexity_ratio").asDouble()).isBetween(0.9, 3.0);
        assertThat(evaluated.path("top1_agreement").asDouble()).isBetween(0.3, 0.9999);
    }

    @ParameterizedTest
    @ValueSource(strings = {"--layers=1", "--layers=0,2"})
    void listedLayersNeedNoData(String layers) {
        done(Cli.run("prune", Cli.TALE_LLAMA, "-o", out(), "--method", "layers", layers, "-q"));
    }

    // ---------------------------------------------------------------- what is refused

    /// One sentence, with the line that says where help is after bad usage.
    private static void refused(Cli cli, int exit, String sentence) {
        assertThat(cli.exit()).as(cli.err()).isEqualTo(exit);
        assertThat(cli.err()).startsWith("llmc: " + sentence);
        assertThat(cli.err().lines()).as(cli.err()).hasSize(exit == ExitCode.USAGE ? 2 : 1);
        assertThat(cli.out()).isEmpty();
    }

    private Cli bare(String flags) {
        List<Object> args = new ArrayList<>(List.of("prune", Cli.TALE_LLAMA, "-o", out(), "-q"));
        args.addAll(Arrays.asList(flags.split(" ", -1)));
        return Cli.run(args.toArray());
    }

    @ParameterizedTest
    @CsvSource(
            delimiter = '|',
            value = {
                "--method layers|--drop: either drop or layers is needed",
                "--method slice|--hidden: slice needs hidden: the channels that stay",
                "--method experts|--keep: keep is missing",
                "--method kv-heads|--to: to is missing",
                "--method width|--ffn: width needs ffn, heads or kvGroups: what stays of them",
                "--method magnitude --window 64|--data: data is missing",
                "--method wanda --hidden 3|--hidden: wanda has no such option; it belongs to slice",
                "--method magnitude --damping 0.1|--damping: magnitude has no such option; it belongs to",
                "--method layers --drop 1 --sparsity 0.5|--sparsity: layers has no such option",
                "--method width --ffn 0.5 --targets q_proj|--targets: width has no such option",
                "--method slice --hidden 224 --keep 2|--keep: slice has no such option",
                "--method experts --keep 2 --to 1|--to: experts has no such option",
                "--method kv-heads --to 1 --no-refit|--no-refit: kv-heads has no such option",
                "--method magnitude --allocation owl|--allocation: owl needs calibration data",
                "--method magnitude --sparsity 2|--sparsity: sparsity is 2.0, expected 0 to 1",
                "--method magnitude --pattern 2:4 --sparsity 0.3|--sparsity: pattern 2:4 means",
                "--method width --ffn 2.0|--ffn: ffn is 2.0, expected a part up to 1",
                "--method width --heads 0|--heads: heads is 0, expected a part up to 1",
                "--method kv-heads --to one|Invalid value for option '--to'",
                "--method gptq|--method: unknown method gptq; known: magnitude, wanda, sparsegpt,"
                        + " layers, width, slice, experts, kv-heads",
                "--method prune|--method: unknown method prune; known: magnitude",
            })
    void badUsageNamesTheFlag(String flags, String sentence) throws IOException {
        refused(bare(flags), ExitCode.USAGE, sentence);
        nothingWritten();
    }

    @ParameterizedTest
    @CsvSource(
            delimiter = '|',
            value = {
                "--method layers --drop 3|cannot drop 3 of the 3 layers of testdata/tale-llama",
                "--method layers --layers 3|testdata/tale-llama has no layer 3 to drop",
                "--method slice --hidden 256|--hidden 256 is not smaller than the model's 256",
                "--method width --ffn 600|--ffn 600 is more than the 512 channels there are",
                "--method width --heads 0.9|--heads 0.9 of the 2 heads of each KV head is 2",
                "--method experts --keep 2|a llama has no experts",
                "--method kv-heads --to 2|to is 2, but there are no more than 2 KV heads",
                "--method magnitude --pattern 2:3|pattern 2:3 does not divide the 256 inputs of",
                "--method wanda --allocation 0.5|allocation lists 1 sparsities, but the model has"
                        + " 3",
                "--method magnitude --targets nope|targets nope matches none of the 21 linear"
                        + " layers",
            })
    void whatTheModelCannotDoIsOneSentence(String flags, String sentence) throws IOException {
        Path text = Cli.TALE_LLAMA.resolve("calibration.txt");
        refused(bare(flags + " --calib-data " + text), ExitCode.FAILED, sentence);
        nothingWritten();
    }

    @ParameterizedTest
    @MethodSource("methods")
    void aQuantizedModelIsNotPruned(String method) throws IOException {
        Path packed = dir.resolve("quantized");
        done(
                Cli.run(
                        "quantize",
                        model(method),
                        "-o",
                        packed,
                        "--method",
                        "rtn",
                        "--group-size",
                        "32",
                        "-q"));
        List<Object> args = new ArrayList<>(List.of("prune", packed, "-o", out(), "-q"));
        args.addAll(List.of("--method", method));
        args.addAll(FLAGS.get(method));
        args.addAll(List.of("--calib-data", model(method).resolve("calibration.txt")));
        Cli cli = Cli.run(args.toArray());
        refused(cli, ExitCode.FAILED, packed + " is already quantized");
        assertThat(cli.err()).contains("prune before quantizing");
        nothingWritten();
    }
}
