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
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/// `llmc plan` on models that are there, and on what it refuses.
class PlanTest {
    private static final Path TEXT = Cli.TALE_LLAMA.resolve("calibration.txt");

    @TempDir private Path dir;

    private static Cli plan(Object... args) {
        Object[] words = new Object[args.length + 1];
        words[0] = "plan";
        System.arraycopy(args, 0, words, 1, args.length);
        return Cli.run(words);
    }

    private JsonNode json(Object... args) throws IOException {
        Path file = dir.resolve("plan.json");
        Object[] words = new Object[args.length + 2];
        System.arraycopy(args, 0, words, 0, args.length);
        words[args.length] = "--json";
        words[args.length + 1] = file;
        Cli cli = plan(words);
        assertThat(cli.exit()).describedAs(cli.err()).isZero();
        return new ObjectMapper().readTree(file.toFile());
    }

    /// To the byte what `quantize` says that it will write.
    @Test
    void aPresetsSizeIsThatOfItsOutput() throws IOException {
        for (String preset : new String[] {"w4a16", "fp8", "nvfp4", "awq"}) {
            Path sizes = dir.resolve("sizes.json");
            List<Object> words = new ArrayList<>(List.of("quantize", Cli.TALE_LLAMA));
            words.addAll(List.of("-o", dir.resolve("out"), "--preset", preset, "--device", "cpu"));
            words.addAll(List.of("--dry-run", "--json", sizes));
            if (!preset.startsWith("fp8")) { // rounded to nearest, it wants no data
                words.addAll(List.of("--calib-data", TEXT));
            }
            Cli cli = Cli.run(words.toArray());
            assertThat(cli.exit()).describedAs(cli.err()).isZero();
            JsonNode written = new ObjectMapper().readTree(sizes.toFile());
            JsonNode planned = json(Cli.TALE_LLAMA, "--preset", preset, "--device", "h100");
            assertThat(planned.path("weights").path(0).path("bytes").asLong())
                    .describedAs(preset)
                    .isEqualTo(written.path("output_bytes").asLong());
        }
    }

    @Test
    void aConfigAloneIsEnough() throws IOException {
        Path config = Files.copy(Cli.TALE_LLAMA.resolve("config.json"), dir.resolve("config.json"));
        String[] flags = {"--preset", "none,w4a16", "--device", "h100,l40s"};
        JsonNode alone = json(config, flags[0], flags[1], flags[2], flags[3]);
        JsonNode whole = json(Cli.TALE_LLAMA, flags[0], flags[1], flags[2], flags[3]);
        assertThat(alone.path("weights")).isEqualTo(whole.path("weights"));
        assertThat(plan(dir, "--device", "h100").err()).contains("sizes follow from config.json");
    }

    @Test
    void namesThatThereAreNot() {
        refused(2, "did you mean h100?", Cli.TALE_LLAMA, "--device", "h10");
        refused(2, "and this for this machine", Cli.TALE_LLAMA, "--device", "abacus");
        refused(2, "did you mean w4a16?", Cli.TALE_LLAMA, "--preset", "w4a15");
        refused(2, "expected f32, bf16, fp8 or int8", Cli.TALE_LLAMA, "--cache", "int3");
        refused(1, "no such file", Cli.TALE_LLAMA, "--table", dir.resolve("none.yaml"));
    }

    @Test
    void whatDoesNotGoTogether() {
        refused(
                1,
                "--tp 3 does not divide the 4 heads; these do: 1, 2, 4",
                Cli.TALE_LLAMA,
                "--tp",
                "3");
        refused(1, "a llama has no experts", Cli.TALE_LLAMA, "--ep", "2");
        refused(1, "lower --context", Cli.TALE_LLAMA, "--context", "1000000");
        refused(1, "does not divide the 64 inputs", Cli.TINY_LLAMA, "--preset", "w4a16");
        refused(2, "--batch: 0 is not", Cli.TALE_LLAMA, "--batch", "1,0");
        refused(2, "--reserve: 1.0 is not", Cli.TALE_LLAMA, "--reserve", "1");
        refused(2, "name both --draft and", Cli.TALE_LLAMA, "--draft", Cli.TALE_LLAMA);
        Object[] draft = {Cli.TALE_LLAMA, "--draft", Cli.TALE_LLAMA, "--acceptance"};
        refused(2, "compares splits without", with(draft, "0.5", "--splits", "2"));
        refused(2, "1.5 is not in [0, 1]", with(draft, "1.5"));
        refused(
                2,
                "a draft needs the model's own",
                Cli.TALE_LLAMA,
                "--draft",
                Cli.TINY_LLAMA,
                "--acceptance",
                "0.5");
    }

    /// A model gains nothing from itself, and more from a draft that is more often right.
    @Test
    void whatADraftGainsOnADevice() throws IOException {
        JsonNode rare = draft("0.2").path("devices").path(0);
        assertThat(rare.path("best_draft_tokens").intValue()).isZero();
        assertThat(rare.path("best_speedup").doubleValue()).isEqualTo(1);
        JsonNode often = draft("0.9,0.8").path("devices").path(0);
        for (int k = 0; k < 4; k++) {
            assertThat(often.path("speedup_by_draft_tokens").path(k).doubleValue())
                    .isGreaterThan(rare.path("speedup_by_draft_tokens").path(k).doubleValue())
                    .isLessThan(1);
        }
    }

    private JsonNode draft(String acceptance) throws IOException {
        return json(
                Cli.TALE_LLAMA,
                "--draft",
                Cli.TALE_LLAMA,
                "--acceptance",
                acceptance,
                "--device",
                "h100");
    }

    private static void refused(int exit, String what, Object... args) {
        Cli cli = plan(args);
        assertThat(cli.err()).contains(what);
        assertThat(cli.exit()).isEqualTo(exit);
        assertThat(cli.out()).isEmpty();
    }

    /// Each split's figures are those that it has by itself.
    @Test
    void allSplitsStandSideBySide() throws IOException {
        Path model = Cli.TESTDATA.resolve("tiny-mixtral");
        JsonNode splits = json(model, "--device", "h100", "--splits", "4").path("splits");
        assertThat(splits).hasSizeGreaterThan(3);
        for (JsonNode split : splits) {
            JsonNode alone =
                    json(
                                    model,
                                    "--device",
                                    "h100",
                                    "--tp",
                                    split.path("tensor_parallel").asText(),
                                    "--pp",
                                    split.path("pipeline_parallel").asText(),
                                    "--ep",
                                    split.path("expert_parallel").asText())
                            .path("weights")
                            .path(0);
            assertThat(split.path("weight_bytes_per_device"))
                    .isEqualTo(alone.path("weight_bytes_per_device"));
            assertThat(split.path("prefill_tokens_per_second"))
                    .isEqualTo(alone.path("devices").path(0).path("prefill_tokens_per_second"));
        }
        assertThat(plan(model, "--splits", "4", "--device", "h100").out()).contains("tp 2, ep 2");
        refused(2, "leave out --tp", model, "--splits", "4", "--tp", "2");
    }

    @Test
    void aTableOfTheUsersOwn() throws IOException {
        Path table = dir.resolve("mine.yaml");
        Files.writeString(
                table, "devices:\n  - {name: mine, memory: 24, bandwidth: 936, f32: 35.6}\n");
        Cli cli = plan(Cli.TALE_LLAMA, "--table", table, "--device", "mine,h100");
        assertThat(cli.exit()).describedAs(cli.err()).isZero();
        assertThat(cli.out()).contains("mine", "h100");
        Files.writeString(table, "devices:\n  - {name: mine, memory: 24, bandwith: 936, f32: 1}\n");
        refused(2, "mine.yaml:2: bandwidth is missing", Cli.TALE_LLAMA, "--table", table);
        Files.writeString(
                table, "devices:\n  - {name: mine, memory: 24, bandwidth: 936, f32: 1, fp16: 2}\n");
        refused(2, "mine.yaml:2: unknown key fp16", Cli.TALE_LLAMA, "--table", table);
    }

    /// Nothing is written, and a little of the work says how long all of it would take.
    @Test
    void aJobIsPlanned() throws IOException {
        Path out = dir.resolve("out");
        Object[] job = {"quantize", Cli.TALE_LLAMA, "-o", out, "--calib-data", TEXT};
        JsonNode plan =
                json(with(job, "--calib-samples", "8", "--device", "cpu", "--group-size", "64"));
        assertThat(plan.path("seconds").asDouble()).isBetween(0.1, 1000.0);
        assertThat(plan.path("peak_bytes").asLong()).isPositive();
        assertThat(out).doesNotExist();
        JsonNode eval =
                json(
                        with(
                                new Object[] {"eval", Cli.TALE_LLAMA},
                                "--data",
                                TEXT,
                                "--max-windows",
                                "4",
                                "--device",
                                "cpu"));
        assertThat(eval.path("seconds").asDouble()).isBetween(0.1, 1000.0);
        Cli refused = plan(with(job, "--group-size", "60", "--device", "cpu"));
        assertThat(refused.exit()).isEqualTo(1);
        assertThat(refused.err()).contains("group size 60 does not divide");
        assertThat(plan().err()).contains("name a model, or a job behind plan");
    }

    /// Memory is no more than was planned, and not much less.
    @ParameterizedTest
    @ValueSource(
            strings = {
                "eval MODEL --data TEXT --window 256 --max-windows 16",
                "quantize MODEL -o OUT --method gptq --group-size 64 CALIBRATION",
                "quantize MODEL -o OUT --preset w8a8 CALIBRATION",
                "prune MODEL -o OUT --method wanda --sparsity 0.5 CALIBRATION",
                "distill MODEL -o OUT --teacher MODEL --data TEXT --steps 2 --batch 2 --length 128",
            })
    void aJobTakesTheMemoryThatWasPlanned(String command) throws IOException {
        String words =
                command.replace(
                                "CALIBRATION",
                                "--calib-data TEXT --calib-samples 48 --calib-length 256")
                        .replace("MODEL", Cli.TALE_LLAMA.toString())
                        .replace("TEXT", TEXT.toString())
                        .replace("OUT", dir.resolve("out").toString());
        Path file = dir.resolve("result.json");
        Cli cli = Cli.run(with(words.split(" "), "--device", "cpu", "--json", file));
        assertThat(cli.exit()).describedAs(cli.err()).isZero();
        JsonNode taken = new ObjectMapper().readTree(file.toFile()).path("taken").path(0);
        double planned = taken.path("planned_bytes").asDouble();
        assertThat(taken.path("bytes").asDouble()).isBetween(planned / 1.25, planned);
        assertThat(cli.out()).contains("planned outside the Java heap, ");
    }

    /// What a job was thought to take stands beside what it took, and changes nothing that it
    /// gives.
    @Test
    void aJobIsRehearsed() throws IOException {
        Path file = dir.resolve("result.json");
        Object[] job = {
            "distill", Cli.TALE_LLAMA, "--teacher", Cli.TALE_LLAMA, "--data", TEXT, "--steps", "4"
        };
        Object[] more = {"--batch", "1", "--length", "32", "--device", "cpu", "--json", file, "-o"};
        Cli plain = Cli.run(with(with(job, more), dir.resolve("plain")));
        assertThat(plain.exit()).describedAs(plain.err()).isZero();
        Cli cli = Cli.run(with(with(job, more), dir.resolve("rehearsed"), "--rehearse"));
        assertThat(cli.exit()).describedAs(cli.err()).isZero();
        JsonNode taken = new ObjectMapper().readTree(file.toFile()).path("taken").path(0);
        assertThat(taken.path("planned_seconds").asDouble()).isPositive();
        assertThat(cli.out()).containsPattern("time +\\S+ s planned, \\S+ s taken");
        assertThat(dir.resolve("rehearsed/model.safetensors"))
                .hasSameBinaryContentAs(dir.resolve("plain/model.safetensors"));
    }

    private static Object[] with(Object[] words, Object... more) {
        List<Object> all = new ArrayList<>(List.of(words));
        all.addAll(List.of(more));
        return all.toArray();
    }

    @Tag("long")
    @Test
    void thisMachineIsMeasured() throws IOException {
        JsonNode here = json(Cli.TALE_LLAMA, "--device", "this");
        JsonNode device = here.path("weights").path(0).path("devices").path(0);
        assertThat(device.path("device").asText()).isEqualTo("this");
        assertThat(device.path("prefill_tokens_per_second").asDouble()).isBetween(10.0, 1e9);
    }
}
