// SPDX-License-Identifier: Apache-2.0
package io.llmc.cli;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import io.llmc.formats.TestFiles;
import io.llmc.formats.checkpoint.Checkpoint;
import io.llmc.formats.checkpoint.TensorReader;
import io.llmc.tensor.Weight;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

/// A packed model in another layout: the same codes, scales and zero points, and back again.
class ConvertIT {
    @TempDir Path dir;

    private Path quantized(String layout, int bits, String... more) {
        Path out = dir.resolve("a");
        List<Object> words =
                new ArrayList<>(List.of("quantize", Cli.TINY_LLAMA, "-o", out, "--method", "rtn"));
        words.addAll(List.of("--group-size", 32, "--bits", bits, "--layout", layout));
        words.addAll(List.of(more));
        done(Cli.run(words.toArray()));
        return out;
    }

    private static Cli done(Cli cli) {
        assertThat(cli.exit()).as(cli.err()).isEqualTo(ExitCode.OK);
        return cli;
    }

    private Cli convert(Path model, String out, String layout) {
        return Cli.run(
                "quantize",
                model,
                "-o",
                dir.resolve(out),
                "--method",
                "convert",
                "--layout",
                layout);
    }

    @ParameterizedTest
    @CsvSource({
        "gptq,compressed-tensors,3,",
        "gptq,gptq_v2,4,--asymmetric",
        "gptq,awq,4,",
        "awq,gptq_p,4,--asymmetric",
        "awq,compressed-tensors,4,--asymmetric",
        "compressed-tensors,gptq,8,",
        "compressed-tensors,gptq_p,5,--asymmetric",
        "gptq_v2,gptq_p,2,--asymmetric",
    })
    void thereAndBackAgain(String from, String to, int bits, String more) {
        Path a = more == null ? quantized(from, bits) : quantized(from, bits, more);
        done(convert(a, "b", to));
        done(convert(dir.resolve("b"), "c", from));
        assertSame(a, dir.resolve("c"));
    }

    private static void assertSame(Path a, Path c) {
        try (Checkpoint first = Checkpoint.open(a);
                Checkpoint last = Checkpoint.open(c);
                TensorReader expected = first.reader();
                TensorReader actual = last.reader()) {
            assertThat(last.names()).containsExactlyInAnyOrderElementsOf(first.names());
            for (String name : first.names()) {
                assertThat(last.info(name)).isEqualTo(first.info(name));
                assertThat(actual.tensor(name).bytes().mismatch(expected.tensor(name).bytes()))
                        .as(name)
                        .isEqualTo(-1);
            }
            for (String linear : first.packedLinears()) {
                assertThat(last.scheme(linear)).as(linear).isEqualTo(first.scheme(linear));
            }
        }
    }

    private void refused(Cli cli, String... words) {
        assertThat(cli.exit()).as(cli.out()).isEqualTo(ExitCode.FAILED);
        assertThat(cli.err()).startsWith("llmc: ").contains(words).hasLineCount(1);
        assertThat(dir.resolve("b")).doesNotExist();
    }

    @Test
    void whatALayoutCannotSayIsRefusedBeforeWork() {
        refused(convert(quantized("gptq", 3), "b", "awq"), "3 bits");
        Path zero = dir.resolve("zero");
        done(
                Cli.run(
                        "quantize",
                        Cli.TINY_LLAMA,
                        "-o",
                        zero,
                        "--method",
                        "rtn",
                        "--scheme",
                        "fp8-dynamic"));
        refused(convert(zero, "b", "gptq"), "gptq holds integers");
    }

    @Test
    void aGroupIndexIsForGptqAlone() {
        Path model =
                TestFiles.shared("oracles/formats/gptqmodel")
                        .resolve("gptq_v1_w4_g64_sym_descact1");
        assumeTrue(Files.exists(model), "no oracles beside the checkout");
        refused(convert(model, "b", "compressed-tensors"), "have an index", "--layout gptq");
        Object[] words = {"--layout", "gptq_v2", "--target", "vllm", "--tp", "2"};
        List<Object> spread = new ArrayList<>(List.of("quantize", model, "--method", "convert"));
        spread.addAll(List.of("-o", dir.resolve("b")));
        spread.addAll(List.of(words));
        refused(Cli.run(spread.toArray()), "its kernel wants multiples of [64, 128]");
        done(convert(model, "b", "gptq_v2"));
    }

    @ParameterizedTest
    @ValueSource(strings = {"nf4_b64_double_quant_bf16", "int8_vectorwise_bf16"})
    void bitsAndBytesBecomesPlainAndNothingElse(String name) {
        Path model = TestFiles.shared("oracles/formats/bitsandbytes").resolve(name);
        assumeTrue(Files.exists(model), "no oracles beside the checkout");
        refused(convert(model, "b", "gptq"), "no codes to spell otherwise");
        assertThat(done(Cli.run("inspect", model)).out()).contains("bitsandbytes\n");
        done(convert(model, "b", "dense"));
        try (Checkpoint packed = Checkpoint.open(model);
                Checkpoint plain = Checkpoint.open(dir.resolve("b"));
                TensorReader expected = packed.reader();
                TensorReader actual = plain.reader()) {
            assertThat(plain.isQuantized()).isFalse();
            for (String linear : packed.packedLinears()) {
                Weight was = expected.weight(linear);
                Weight is = actual.weight(linear);
                assertThat(is.encoding()).isEqualTo(was.encoding());
                assertThat(
                                is.tensors()
                                        .findFirst()
                                        .orElseThrow()
                                        .bytes()
                                        .mismatch(was.tensors().findFirst().orElseThrow().bytes()))
                        .isEqualTo(-1);
            }
        }
    }

    @Test
    void aPlainModelStaysPlain() throws Exception {
        Cli cli = done(convert(Cli.TINY_LLAMA, "b", "gptq"));
        assertThat(cli.err()).contains("nothing in this model is packed");
        assertThat(Files.readString(dir.resolve("b/config.json"))).doesNotContain("quant_method");
    }
}
