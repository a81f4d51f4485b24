// SPDX-License-Identifier: Apache-2.0
package io.llmc.cli;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/// What the program that is to read an output would refuse is refused before any work.
class ReadersTest {
    @TempDir private Path dir;

    private Cli plan(String model, String... flags) {
        List<Object> args = new ArrayList<>(List.of("quantize", Cli.TESTDATA.resolve(model), "-o"));
        args.addAll(List.of(dir.resolve("out"), "--dry-run"));
        args.addAll(Arrays.asList(flags));
        return Cli.run(args.toArray());
    }

    @ParameterizedTest
    @CsvSource(
            delimiter = '|',
            value = {
                // Heads 4, KV heads 2, channels 256 and 512.
                "tale-llama|vllm|--bits=2|no kernel for integers of 2 bits, which model.layers.0.self_attn.q_proj would have; try --bits 4|",
                "tale-llama|sglang|--bits=3|no kernel for integers of 3 bits|try --bits 4",
                "tale-llama|vllm|--group-size=16|no kernel for groups of 16|try --group-size 32",
                "tale-llama|vllm|--group-size=256|no kernel for groups of 256|try --group-size 128",
                "tale-llama|vllm|--tp=4|each of 4 processes would hold 64 inputs of model.layers.0.self_attn.o_proj, which are no whole groups of 128; try --group-size 64, or --tp 2|",
                "tale-llama|vllm|--tp=3|4 heads and 2 KV heads cannot be spread over 3 processes; try --tp 2|",
                "tale-llama|vllm|--asymmetric --layout=gptq|gptq of 4 bits without zero points alone|round symmetrically",
                "tale-llama|vllm|--asymmetric --bits=8|of 8 bits without zero points alone|with --bits 4",
                "tale-llama|sglang|--asymmetric|without zero points alone|",
                "tale-llama|vllm|--group-size=64 --ignore=k_proj|vLLM loads q_proj, k_proj, v_proj as one layer and refuses a mix: in 3 blocks|quantize all of them or none",
                "tiny-mixtral|vllm|--group-size=32 --asymmetric|reads compressed-tensors of 4 bits without zero points|experts",
                "tiny-llama|sglang|--group-size=32|its kernel wants multiples of [64, 128]|leave it plain: --ignore q_proj",
                "tale-llama|sglang|--layout=gptq_p|it reads no layout gptq_p|",
                "tale-llama|transformers|--layout=gptq_p --bits=5|no kernel for integers of 5 bits|try --bits 4",
                "tale-llama|llama.cpp|--layout=gptq_v2|llama.cpp's converter would refuse it: it reads no layout gptq_v2|",
                "tale-llama|llama.cpp|--group-size=channel|packed integers in groups alone|",
            })
    void whatAReaderWouldRefuse(String model, String target, String flags, String what, String then)
            throws IOException {
        List<String> args = new ArrayList<>(List.of("--method=rtn", "--target=" + target));
        args.addAll(Arrays.asList(flags.split(" ", -1)));
        Cli cli = plan(model, args.toArray(String[]::new));
        assertThat(cli.exit()).as(cli.err()).isEqualTo(ExitCode.FAILED);
        assertThat(cli.err().lines().toList().getLast())
                .startsWith("llmc: ")
                .contains(what, then == null ? "" : then);
        assertThat(dir).isEmptyDirectory();
    }

    @ParameterizedTest
    @CsvSource({
        "vllm,--group-size=64 --tp=4",
        "vllm,--group-size=128 --asymmetric --tp=2",
        "vllm,--scheme=fp8-dynamic --tp=4",
        "vllm,--group-size=channel --bits=8 --layout=gptq",
        "sglang,--group-size=128",
        "sglang,--layout=gptq_v2 --asymmetric",
        "transformers,--layout=gptq_p --asymmetric",
        "transformers,--bits=3 --layout=gptq",
        "llama.cpp,--layout=gptq",
        "llama.cpp,--layout=dense",
    })
    void whatAReaderReads(String target, String flags) {
        List<String> args = new ArrayList<>(List.of("--method=rtn", "--target=" + target));
        args.addAll(Arrays.asList(flags.split(" ", -1)));
        Cli cli = plan("tale-llama", args.toArray(String[]::new));
        assertThat(cli.exit()).as(cli.err()).isZero();
    }

    @Test
    void aTargetIsNamedRight() throws IOException {
        usage(
                plan("tale-llama", "--method=rtn", "--target=tgi"),
                "--target: target is tgi, expected");
        usage(plan("tale-llama", "--method=rtn", "--tp=2"), "--tp: tp says how target spreads");
        usage(plan("tale-llama", "--method=rtn", "--target=vllm", "--tp=0"), "--tp: tp is 0");
        Path recipe =
                Files.writeString(
                        dir.resolve("recipe.yaml"),
                        """
                        model: testdata/tale-llama
                        save: {target: vllm}
                        steps:
                          - evaluate: {data: testdata/tale-llama/test.txt}
                        """);
        usage(Cli.run("run", recipe), recipe + ":2: target is for sweeps");
    }

    private static void usage(Cli cli, String start) {
        assertThat(cli.exit()).as(cli.err()).isEqualTo(ExitCode.USAGE);
        assertThat(cli.err()).startsWith("llmc: " + start);
    }
}
