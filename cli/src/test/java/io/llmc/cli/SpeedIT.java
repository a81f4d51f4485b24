// SPDX-License-Identifier: Apache-2.0
package io.llmc.cli;

import static org.assertj.core.api.Assertions.assertThat;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/// How fast a model is, as the command says it.
class SpeedIT {
    private static final ObjectMapper JSON = new ObjectMapper();

    @TempDir private Path dir;

    private static JsonNode checked(Cli run) throws IOException {
        assertThat(run.exit()).as(run.err()).isZero();
        JsonNode json = JSON.readTree(run.out());
        JsonNode schema = JSON.readTree(Path.of("docs/eval.schema.json").toFile());
        assertThat(JsonSchema.faults(schema, json)).isEmpty();
        return json;
    }

    @Test
    void twoModelsInTurns() throws IOException {
        JsonNode json =
                checked(
                        Cli.run(
                                "eval",
                                Cli.TALE_LLAMA,
                                "--against=" + Cli.TALE_LLAMA,
                                "--latency-prefill=20",
                                "--latency-depths=4",
                                "--latency-batches=1,2",
                                "--latency-steps=2",
                                "--latency-repeats=3",
                                "--latency-cache=int8",
                                "--gate=decode_speedup_high>0",
                                "-q",
                                "--json=-"));
        assertThat(json.path("latency")).hasSize(3);
        assertThat(json.path("latency").get(2).path("batch").intValue()).isEqualTo(2);
        assertThat(json.path("decode_speedup_low").doubleValue())
                .isLessThanOrEqualTo(json.path("decode_speedup_high").doubleValue());
        assertThat(json.path("passed").booleanValue()).isTrue();
    }

    @Test
    void aDraftOfTheModelItselfIsAccepted() throws IOException {
        Path prompts = Files.writeString(dir.resolve("p.txt"), "Once upon a time\nA fox\n");
        JsonNode json =
                checked(
                        Cli.run(
                                "eval",
                                Cli.TALE_LLAMA,
                                "--draft=" + Cli.TALE_LLAMA,
                                "--data=" + prompts,
                                "--draft-tokens=3",
                                "--max-tokens=20",
                                "-q",
                                "--json=-"));
        assertThat(json.path("draft_same_texts").intValue()).isEqualTo(2);
        assertThat(json.path("draft_acceptance").doubleValue()).isEqualTo(1);
        assertThat(json.path("draft_tokens_per_pass").doubleValue()).isEqualTo(4);
    }

    @Test
    void aDraftWithOtherTokensIsRefused() {
        Cli run =
                Cli.run(
                        "eval",
                        Cli.TALE_LLAMA,
                        "--draft=" + Cli.TESTDATA.resolve("tiny-llama"),
                        "--data=" + Cli.TALE_LLAMA.resolve("test.txt"));
        assertThat(run.exit()).isEqualTo(1);
        assertThat(run.err()).contains("cannot draft for");
    }

    @Test
    void aBaseOfATextIsNoneOfPrompts() {
        for (String flag :
                List.of(
                        "--kld-base=" + dir.resolve("x"),
                        "--window=64",
                        "--max-windows=2",
                        "--convention=sliding",
                        "--against=" + Cli.TALE_LLAMA)) {
            Cli run =
                    Cli.run(
                            "eval",
                            Cli.TALE_LLAMA,
                            "--draft=" + Cli.TALE_LLAMA,
                            "--data=" + Cli.TALE_LLAMA.resolve("test.txt"),
                            flag);
            assertThat(run.exit()).isEqualTo(2);
            assertThat(run.err()).contains(flag.split("=", 2)[0], "with --draft");
        }
    }

    @Test
    void promptsMustBeGiven() {
        Cli run = Cli.run("eval", Cli.TALE_LLAMA, "--draft=" + Cli.TALE_LLAMA);
        assertThat(run.exit()).isEqualTo(2);
        assertThat(run.err()).contains("--data");
    }
}
