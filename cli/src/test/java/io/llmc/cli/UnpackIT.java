// SPDX-License-Identifier: Apache-2.0
package io.llmc.cli;

import static org.assertj.core.api.Assertions.assertThat;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.IOException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/// A packed model back to plain weights.
class UnpackIT {
    @TempDir private Path dir;

    private Path packed(Path model, String layout, Object... flags) {
        Path packed = dir.resolve("packed");
        List<Object> args = new ArrayList<>(List.of("quantize", model, "-o", packed, "-q"));
        args.addAll(List.of("--method", "rtn", "--layout", layout));
        args.addAll(List.of(flags));
        done(Cli.run(args.toArray()));
        return packed;
    }

    private static Cli done(Cli cli) {
        assertThat(cli.exit()).as(cli.err()).isEqualTo(ExitCode.OK);
        return cli;
    }

    private Path plain() {
        return dir.resolve("plain");
    }

    @ParameterizedTest
    @CsvSource({
        "tale-llama,compressed-tensors,3,64,",
        "tale-llama,compressed-tensors,4,channel,--asymmetric",
        "tale-llama,gptq,4,64,",
        "tale-llama,gptq_v2,8,32,--asymmetric",
        "tale-llama,awq,4,64,--asymmetric",
    })
    void thePlainModelComputesTheSame(
            String name, String layout, int bits, String group, String more) throws IOException {
        Path model = Cli.TESTDATA.resolve(name);
        List<Object> flags = new ArrayList<>(List.of("--bits", bits, "--group-size", group));
        if (more != null) {
            flags.add(more);
        }
        Path packed = packed(model, layout, flags.toArray());
        Cli cli = done(Cli.run("quantize", packed, "-o", plain(), "--layout", "dense"));
        assertThat(cli.err()).contains("21 packed layers are written as the plain values");
        assertThat(cli.out()).contains("21 layers were packed", "verified");
        JsonNode config = new ObjectMapper().readTree(plain().resolve("config.json").toFile());
        assertThat(config.has("quantization_config")).isFalse();
        assertThat(plain().resolve("quantize_config.json")).doesNotExist();
        assertThat(plain().resolve("tokenizer.json")).exists();
        Path json = dir.resolve("eval.json");
        done(
                Cli.run(
                        "eval",
                        plain(),
                        "--against",
                        packed,
                        "--data",
                        Cli.TALE_LLAMA.resolve("test.txt"),
                        "--window",
                        "64",
                        "--max-windows",
                        "1",
                        "--json",
                        json,
                        "-q"));
        JsonNode eval = new ObjectMapper().readTree(json.toFile());
        assertThat(eval.path("kld_max").asDouble()).isLessThan(1e-6);
        assertThat(eval.path("perplexity_ratio").asDouble()).isBetween(1 - 1e-6, 1 + 1e-6);
        // And it can be compressed again.
        done(
                Cli.run(
                        "quantize",
                        plain(),
                        "-o",
                        dir.resolve("again"),
                        "--method",
                        "rtn",
                        "--group-size",
                        "64",
                        "--dry-run"));
    }

    @Test
    void conv1dLayersLieAsTheyDid() {
        Path packed = packed(Cli.TESTDATA.resolve("tiny-gpt2"), "gptq", "--group-size", "32");
        // Read back, it gives the same logits as the packed one: the run itself compares them.
        Cli cli =
                done(
                        Cli.run(
                                "quantize",
                                packed,
                                "-o",
                                plain(),
                                "--layout",
                                "dense",
                                "--method",
                                "rtn",
                                "--bits",
                                "2"));
        assertThat(cli.out()).contains("8 layers were packed", "verified");
        assertThat(done(Cli.run("inspect", plain(), "-v")).out())
                .contains("attn.c_attn.weight")
                .doesNotContain("qweight", "2 bits");
    }

    @Test
    void theRefusalLeadsThere() {
        Path packed = packed(Cli.TINY_LLAMA, "compressed-tensors", "--group-size", "32");
        for (String command : List.of("quantize", "prune")) {
            List<Object> args = new ArrayList<>(List.of(command, packed, "-o", plain()));
            args.addAll(
                    command.equals("quantize")
                            ? List.of("--method", "rtn", "--group-size", "32")
                            : List.of("--method", "magnitude"));
            Cli cli = Cli.run(args.toArray());
            assertThat(cli.exit()).isEqualTo(ExitCode.FAILED);
            assertThat(cli.err())
                    .contains(
                            "is already quantized",
                            "llmc quantize " + packed + " -o PLAIN --layout dense");
        }
        Cli targets =
                Cli.run(
                        "quantize",
                        packed,
                        "-o",
                        plain(),
                        "--layout",
                        "dense",
                        "--targets",
                        "q_proj");
        assertThat(targets.exit()).isEqualTo(ExitCode.USAGE);
        assertThat(targets.err()).contains("--targets");
    }
}
