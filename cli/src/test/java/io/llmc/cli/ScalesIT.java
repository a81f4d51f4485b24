// SPDX-License-Identifier: Apache-2.0
package io.llmc.cli;

import static org.assertj.core.api.Assertions.assertThat;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
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

/// Weights that the types of an output cannot hold are refused, by name and with a way out.
class ScalesIT {
    private static final String DOWN = "model.layers.1.mlp.down_proj";

    @TempDir private Path dir;

    private BrokenModel model() throws IOException {
        return BrokenModel.copyOf(Cli.TALE_LLAMA, dir.resolve("model"));
    }

    private Path out() {
        return dir.resolve("out");
    }

    private Cli quantize(Path model, String method, String layout, Object... flags) {
        List<Object> args =
                new ArrayList<>(
                        List.of(
                                "quantize",
                                model,
                                "-o",
                                out(),
                                "-q",
                                "--method",
                                method,
                                "--layout",
                                layout,
                                "--targets",
                                "*.1.mlp.*"));
        args.addAll(List.of(flags));
        if (!args.contains("--group-size")) {
            args.addAll(List.of("--group-size", 64));
        }
        if (method.equals("gptq")) {
            args.addAll(List.of("--calib-data", Cli.TALE_LLAMA.resolve("test.txt")));
            args.addAll(List.of("--calib-samples", 2, "--calib-length", 64));
        }
        return Cli.run(args.toArray());
    }

    private void refused(Cli cli, String... words) throws IOException {
        assertThat(cli.exit()).as(cli.err()).isEqualTo(ExitCode.FAILED);
        assertThat(cli.err()).startsWith("llmc: ").contains(words).hasLineCount(1);
        assertThat(out()).doesNotExist();
    }

    private void nothingLeft() throws IOException {
        try (Stream<Path> files = Files.list(dir)) {
            assertThat(files).containsExactly(dir.resolve("model"));
        }
    }

    @ParameterizedTest
    @CsvSource({
        "rtn,gptq,",
        "rtn,gptq_v2,--asymmetric",
        "gptq,gptq,",
        "gptq,gptq_v2,--asymmetric",
    })
    void scalesThatF16Loses(String method, String layout, String more) throws IOException {
        Path model = model().map(DOWN + ".weight", w -> w * 1e-6).directory();
        Object[] flags = more == null ? new Object[0] : new Object[] {more};
        refused(
                quantize(model, method, layout, flags),
                DOWN + " are too small for the F16 scales of " + layout,
                "groups would be lost",
                "--layout compressed-tensors or dense",
                "--ignore");
        nothingLeft();
    }

    @Test
    void whatTheHintNamesWorks() throws IOException {
        Path model = model().map(DOWN + ".weight", w -> w * 1e-6).directory();
        for (String layout : List.of("compressed-tensors", "dense")) {
            Path json = dir.resolve("result.json");
            Cli cli = quantize(model, "rtn", layout, "--json", json, "--force");
            assertThat(cli.exit()).as(cli.err()).isEqualTo(ExitCode.OK);
            for (JsonNode m : new ObjectMapper().readTree(json.toFile()).path("modules")) {
                assertThat(m.path("relative_weight_error").asDouble()).isBetween(0.01, 0.05);
            }
        }
        Cli ignored = quantize(model, "rtn", "gptq", "--ignore", "down_proj", "--force");
        assertThat(ignored.exit()).as(ignored.err()).isEqualTo(ExitCode.OK);
    }

    @ParameterizedTest
    @CsvSource({
        "channel,1e-6,small",
        "64,1e-5,small",
        "64,1e8,large",
        "channel,1e8,large",
    })
    void wholeRowsAndLargeWeights(String group, double factor, String what) throws IOException {
        Path model = model().map(DOWN + ".weight", w -> w * factor).directory();
        refused(
                quantize(model, "rtn", "gptq", "--group-size", group),
                DOWN + " are too " + what + " for the F16 scales of gptq",
                "compressed-tensors");
        nothingLeft();
    }

    /// The last solved layer is only known after its block; the same sentence then.
    @Test
    void groupsInTheOrderOfActivations() throws IOException {
        Path model = model().map(DOWN + ".weight", w -> w * 1e-6).directory();
        refused(
                quantize(model, "gptq", "gptq", "--act-order", "group"),
                DOWN + " are too small for the F16 scales of gptq");
    }

    @Test
    void aModelInF16HasNoWiderPackedLayout() throws IOException {
        Path model = model().inF16().map(DOWN + ".weight", w -> w).directory();
        Cli good = quantize(model, "rtn", "compressed-tensors");
        assertThat(good.exit()).as(good.err()).isEqualTo(ExitCode.OK);
        Path small =
                BrokenModel.copyOf(Cli.TALE_LLAMA, dir.resolve("small"))
                        .map(DOWN + ".weight", w -> w * 1e-6)
                        .inF16()
                        .directory();
        assertThat(quantize(small, "rtn", "compressed-tensors", "--force").err())
                .contains("too small for the F16 scales of compressed-tensors", "--layout dense");
    }

    /// Small floats know it before any work, too.
    @ParameterizedTest
    @CsvSource({"fp8-dynamic", "fp8-block"})
    void scalesOfSmallFloats(String scheme) throws IOException {
        Path model =
                model().map("model.layers.1.mlp.gate_proj.weight", w -> w * 1e-6)
                        .inF16()
                        .directory();
        Path out = out();
        Object[] words = {
            "quantize", model, "-o", out, "-q", "--method", "rtn", "--scheme", scheme
        };
        refused(
                Cli.run(words),
                "model.layers.1.mlp.gate_proj are too small for the F16 scales of"
                        + " compressed-tensors");
        nothingLeft();
    }

    /// Below what BF16 holds with all its digits, F32 holds it.
    @Test
    void scalesThatBf16Loses() throws IOException {
        Path model = model().map(DOWN + ".weight", w -> w * 1e-39).directory();
        refused(
                quantize(model, "rtn", "compressed-tensors"),
                DOWN + " are too small for the BF16 scales of compressed-tensors",
                "--layout dense, or");
    }

    @Test
    void aGroupOfZerosIsExact() throws IOException {
        Path model = model().map(DOWN + ".weight", _ -> 0).directory();
        for (String layout : List.of("gptq", "gptq_v2", "compressed-tensors")) {
            for (Object[] flags : new Object[][] {{"--force"}, {"--force", "--asymmetric"}}) {
                Cli cli = quantize(model, "rtn", layout, flags);
                assertThat(cli.exit()).as(cli.err()).isEqualTo(ExitCode.OK);
            }
        }
    }

    /// The scale fits, but the code farthest from zero is beyond F16 times the scale.
    @Test
    void valuesThatAReaderCannotCompute() throws IOException {
        Path model = model().map(DOWN + ".weight", w -> w > 0 ? 65000 : -65000).directory();
        refused(
                quantize(model, "rtn", "gptq"),
                DOWN + " as its readers compute it",
                "beyond the range of F16",
                "use --layout compressed-tensors or dense");
    }

    @ParameterizedTest
    @CsvSource({"slice,--hidden,128", "width,--ffn,0.5"})
    void prunedWeightsBeyondF16(String method, String flag, String value) throws IOException {
        // Weights at F16's end: whatever is added up is beyond it.
        Path model =
                BrokenModel.copyOf(Cli.TALE_LLAMA, dir.resolve("f16"))
                        .map("model.layers.0.mlp.down_proj.weight", w -> w > 0 ? 65504 : -65504)
                        .map("model.layers.0.post_attention_layernorm.weight", w -> w * 1e-4)
                        .directory();
        Path f16 = new BrokenModel(model).inF16().directory();
        Cli cli =
                Cli.run(
                        "prune",
                        f16,
                        "-o",
                        out(),
                        "-q",
                        "--method",
                        method,
                        flag,
                        value,
                        "--calib-data",
                        Cli.TALE_LLAMA.resolve("test.txt"),
                        "--calib-samples",
                        2,
                        "--calib-length",
                        64);
        refused(cli, "beyond the range of F16", "BF16 or F32");
    }
}
