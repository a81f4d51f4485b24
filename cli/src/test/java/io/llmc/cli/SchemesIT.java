// SPDX-License-Identifier: Apache-2.0
package io.llmc.cli;

import static java.util.stream.Collectors.joining;
import static org.assertj.core.api.Assertions.assertThat;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import io.llmc.formats.checkpoint.Checkpoint;
import io.llmc.tensor.Scheme;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Optional;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

/// What the programs that read an output would refuse, or read as something else.
class SchemesIT {
    @TempDir private Path dir;

    /// @param sweeps each the passes of one, as `rtn: {bits: 4}`
    @SafeVarargs
    private Path recipe(Path model, String layout, List<String>... sweeps) throws IOException {
        StringBuilder text = new StringBuilder();
        text.append("model: %s\noutput: %s\n".formatted(model, out()));
        text.append("save: {layout: %s}\n".formatted(layout));
        text.append(
                "calibration: {data: %s, samples: 2, length: 64}\nsteps:\n"
                        .formatted(Cli.TALE_LLAMA.resolve("test.txt")));
        for (List<String> sweep : sweeps) {
            text.append("  - sweep:\n");
            sweep.forEach(pass -> text.append("      - %s\n".formatted(pass)));
        }
        return Files.writeString(dir.resolve("recipe.yaml"), text);
    }

    @Test
    void plainWeightsThatLoseTheRoundingOfInputsSaySo() {
        Cli cli =
                Cli.run(
                        "quantize",
                        Cli.TINY_LLAMA,
                        "-o",
                        out(),
                        "--method=rtn",
                        "--scheme=fp8-dynamic",
                        "--layout=dense",
                        "--dry-run");
        assertThat(cli.exit()).as(cli.err()).isEqualTo(ExitCode.OK);
        assertThat(cli.out() + cli.err()).contains("say nothing of inputs: those of 14 layers");
    }

    private Path out() {
        return dir.resolve("out");
    }

    private Cli done(Path recipe) {
        Cli cli = Cli.run("run", recipe, "-q");
        assertThat(cli.exit()).as(cli.err()).isEqualTo(ExitCode.OK);
        return cli;
    }

    private void refused(Cli cli, String... words) throws IOException {
        assertThat(cli.exit()).as(cli.err()).isEqualTo(ExitCode.FAILED);
        assertThat(cli.err()).startsWith("llmc: ").contains(words).hasLineCount(1);
        try (Stream<Path> files = Files.list(dir)) {
            assertThat(files).containsExactly(dir.resolve("recipe.yaml"));
        }
    }

    /// What each layer's config says, read by its own reader.
    private Optional<String> scheme(String linear) {
        try (Checkpoint c = Checkpoint.open(out())) {
            return c.scheme(linear).map(Scheme::describe);
        }
    }

    @ParameterizedTest
    @CsvSource({
        "'bits: 8, groupSize: 32','8 bits, groups of 32, symmetric'",
        "'bits: 4, groupSize: 64','4 bits, groups of 64, symmetric'",
        "'bits: 4, groupSize: channel','4 bits, whole rows, symmetric'",
        "'bits: 4, groupSize: 32, symmetric: false','4 bits, groups of 32, asymmetric'",
    })
    void twoGridsInOneSweep(String other, String grid) throws IOException {
        List<String> passes =
                List.of(
                        "rtn: {bits: 4, groupSize: 32, targets: ['*.mlp.*']}",
                        "rtn: {%s, targets: ['*.self_attn.*'], ignore: [o_proj, '*.1.*.k_proj']}"
                                .formatted(other));
        for (String layout : List.of("compressed-tensors", "gptq", "gptq_v2")) {
            done(recipe(Cli.TINY_LLAMA, layout, passes));
            String prefix = "model.layers.";
            assertThat(scheme(prefix + "0.mlp.up_proj"))
                    .contains("4 bits, groups of 32, symmetric");
            assertThat(scheme(prefix + "1.self_attn.q_proj")).contains(grid);
            assertThat(scheme(prefix + "0.self_attn.k_proj")).contains(grid);
            assertThat(scheme(prefix + "1.self_attn.k_proj")).isEmpty();
            assertThat(scheme("lm_head")).isEmpty();
            Files.move(out(), dir.resolve(layout));
        }
        String anyQ = "^model\\.layers\\.\\d+\\.self_attn\\.q_proj$";
        String firstK = "^model\\.layers\\.0\\.self_attn\\.k_proj$";
        String anyV = anyQ.replace("q_proj", "v_proj");
        assertThat(config("compressed-tensors").at("/config_groups/group_0/targets"))
                .extracting(JsonNode::asText)
                .containsExactly("re:" + anyQ, "re:" + firstK, "re:" + anyV);
        assertThat(config("gptq").path("dynamic").fieldNames())
                .toIterable()
                .contains("-:" + firstK.replace("0", "1"))
                .filteredOn(key -> key.startsWith("+:"))
                .containsExactly(
                        "+:" + anyQ,
                        "+:" + firstK,
                        "+:" + anyV,
                        "+:" + anyQ.replace("q_proj", "qkv_proj"));
        done(recipe(Cli.TINY_LLAMA, "dense", passes));
    }

    private JsonNode config(String output) throws IOException {
        return new ObjectMapper()
                .readTree(dir.resolve(output).resolve("config.json").toFile())
                .path("quantization_config");
    }

    @Test
    void twoOrdersInOneSweep() throws IOException {
        done(
                recipe(
                        Cli.TALE_LLAMA,
                        "gptq",
                        List.of(
                                "gptq: {groupSize: 64, actOrder: group, targets: [down_proj]}",
                                "rtn: {groupSize: 64, ignore: [down_proj]}")));
        JsonNode q = config("out");
        assertThat(q.path("desc_act").asBoolean()).isFalse();
        assertThat(q.path("dynamic")).hasSize(1);
        assertThat(q.path("dynamic").elements().next().path("desc_act").asBoolean()).isTrue();
    }

    @Test
    void layersThatReadersLoadAsOneWantOneScheme() throws IOException {
        Path recipe =
                recipe(
                        Cli.TINY_LLAMA,
                        "gptq",
                        List.of(
                                "rtn: {bits: 4, groupSize: 32, ignore: [k_proj]}",
                                "rtn: {bits: 8, groupSize: 32, targets: [k_proj]}"));
        assertThat(Cli.run("run", recipe, "--dry-run").out())
                .contains("q_proj, k_proj, v_proj as one layer and reads one scheme for it: in 2");
    }

    @Test
    void equalGridsAreOneGrid() throws IOException {
        done(
                recipe(
                        Cli.TALE_LLAMA,
                        "gptq",
                        List.of(
                                "gptq: {groupSize: 64, actOrder: static, targets: [down_proj]}",
                                "rtn: {groupSize: 64, ignore: [down_proj]}")));
        assertThat(config().path("quantization_config").path("group_size").asInt()).isEqualTo(64);
    }

    @ParameterizedTest
    @ValueSource(strings = {"rtn: {bits: 4, groupSize: 32}", "magnitude: {pattern: '2:4'}"})
    void whatIsPackedIsNotWorkedOn(String second) throws IOException {
        Path recipe =
                recipe(
                        Cli.TINY_LLAMA,
                        "compressed-tensors",
                        List.of("rtn: {bits: 4, groupSize: 32}", second));
        refused(Cli.run("run", recipe), "which rtn has quantized before it", "swap the two");
    }

    private JsonNode config() throws IOException {
        return new ObjectMapper().readTree(out().resolve("config.json").toFile());
    }

    /// What compressed-tensors accepts (0.20; earlier ones refuse an order without groups).
    @ParameterizedTest
    @CsvSource({
        "static,64,static",
        "none,64,",
        "static,channel,",
        "group,channel,",
    })
    void theOrderOfColumnsInAConfig(String order, String group, String written) throws IOException {
        done(
                recipe(
                        Cli.TALE_LLAMA,
                        "compressed-tensors",
                        List.of(
                                "gptq: {actOrder: %s, groupSize: %s, targets: ['*.0.mlp.down_proj']}"
                                        .formatted(order, group))));
        JsonNode weights = config().at("/quantization_config/config_groups/group_0/weights");
        assertThat(weights.has("actorder")).isTrue();
        assertThat(weights.path("actorder").textValue()).isEqualTo(written);
    }

    private String notes(Path model, Object... flags) {
        Object[] args =
                Stream.concat(
                                Stream.of(
                                        "quantize",
                                        model,
                                        "-o",
                                        out(),
                                        "--dry-run",
                                        "--group-size",
                                        "32"),
                                Stream.of(flags))
                        .toArray();
        Cli cli = Cli.run(args);
        assertThat(cli.exit()).as(cli.err()).isEqualTo(ExitCode.OK);
        return cli.out().lines().filter(l -> l.startsWith("note: ")).collect(joining("\n"));
    }

    @Test
    void layersThatReadersLoadAsOne() {
        assertThat(notes(Cli.TINY_LLAMA, "--method", "rtn", "--ignore", "k_proj"))
                .contains("q_proj, k_proj, v_proj as one layer", "in 2 blocks", "k_proj not");
        assertThat(notes(Cli.TINY_LLAMA, "--method", "rtn", "--targets", "*.0.mlp.up_proj"))
                .contains("gate_proj, up_proj as one layer", "in 1 blocks", "gate_proj not");
        assertThat(notes(Cli.TINY_LLAMA, "--method", "rtn", "--ignore", "down_proj,o_proj"))
                .isEmpty();
        Path mixtral = Cli.TESTDATA.resolve("tiny-mixtral");
        assertThat(notes(mixtral, "--method", "rtn", "--ignore", "*.experts.1.*"))
                .contains("all experts of a block as one layer");
        assertThat(notes(mixtral, "--method", "rtn", "--ignore", "*.self_attn.*")).isEmpty();
        assertThat(
                        notes(
                                Cli.TINY_LLAMA,
                                "--method",
                                "rtn",
                                "--ignore",
                                "k_proj",
                                "--layout",
                                "dense"))
                .isEmpty();
    }

    @Test
    void compressedTensorsNoLongerHaveAGroupIndex() {
        Path text = Cli.TALE_LLAMA.resolve("test.txt");
        Path out = out();
        Object[] words = {
            "quantize", Cli.TALE_LLAMA, "-o", out, "--act-order", "group", "--calib-data", text
        };
        Cli cli = Cli.run(words);
        assertThat(cli.exit()).isEqualTo(ExitCode.FAILED);
        assertThat(cli.err())
                .contains(
                        "an index, which compressed-tensors no longer reads",
                        "use --layout gptq, or quantize with --act-order static")
                .hasLineCount(1);
        assertThat(dir).isEmptyDirectory();
        assertThat(notes(Cli.TALE_LLAMA, "--act-order", "static", "--calib-data", text)).isEmpty();
    }

    @Test
    void headsThatDoNotDivideTheStream() throws IOException {
        // The same weights as 8 heads of half the width.
        Path model =
                BrokenModel.copyOf(Cli.TALE_LLAMA, dir.resolve("model"))
                        .config(c ->
                                c.put("num_attention_heads", 8)
                                        .put("num_key_value_heads", 4)
                                        .put("head_dim", 32))
                        .directory();
        for (int groups : new int[] {2, 3}) {
            Path recipe =
                    recipe(model, "dense", List.of("width: {kvGroups: %d}".formatted(groups)));
            Cli cli = Cli.run("run", recipe, "--dry-run");
            assertThat(cli.exit()).as(cli.err()).isEqualTo(ExitCode.OK);
            assertThat(cli.out().contains("note: 6 heads do not divide the 256 channels"))
                    .isEqualTo(groups == 3);
        }
    }
}
