// SPDX-License-Identifier: Apache-2.0
package io.llmc.cli;

import static org.assertj.core.api.Assertions.assertThat;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import io.llmc.pipeline.sweep.Preset;
import io.llmc.quantize.Presets;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.MethodSource;

/// Chains of methods by name.
class PresetTest {
    @TempDir private Path dir;

    static List<Preset> presets() {
        return Presets.ALL;
    }

    private Cli quantize(Path model, String... flags) {
        List<Object> args = new ArrayList<>(List.of("quantize", model, "-o", dir.resolve("out")));
        args.addAll(List.of(flags));
        return Cli.run(args.toArray());
    }

    @ParameterizedTest
    @MethodSource("presets")
    void everyPresetCanBePlanned(Preset preset) {
        Cli plan =
                quantize(
                        Cli.TALE_LLAMA,
                        "--preset=" + preset.name(),
                        "--calib-data=" + Cli.TALE_LLAMA.resolve("test.txt"),
                        "--dry-run");
        assertThat(plan.exit()).as(plan.err()).isZero();
        assertThat(plan.out()).contains("nothing is written");
    }

    @Test
    void theListNeedsNoModel() throws IOException {
        Cli list = Cli.run("quantize", "--list-presets");
        assertThat(list.exit()).as(list.err()).isZero();
        assertThat(list.out().lines()).hasSize(1 + Presets.ALL.size());
        assertThat(list.out()).containsPattern("w4a16 +4[.]13 +needed +compressed-tensors, gptq,");
        Path json = dir.resolve("presets.json");
        assertThat(Cli.run("quantize", "--list-presets", "--json", json).exit()).isZero();
        JsonNode first = new ObjectMapper().readTree(json.toFile()).path("presets").get(0);
        assertThat(first.path("needs_data").isBoolean()).isTrue();
    }

    @ParameterizedTest
    @CsvSource(
            delimiter = '|',
            value = {
                "--preset=fp8 --bits=3|--bits: preset fp8: bits is for grids of integers, and scheme"
                        + " fp8-dynamic rounds weights to F8_E4M3, whole rows",
                "--preset=w4a16 --bits=3|--bits: preset w4a16 stands for bits 4, not 3; leave it out",
                "--preset=fp8 --set=bits=3|--set bits: preset fp8: bits is for grids of integers",
                "--preset=fp8 --damping=0.1|--damping: preset fp8 (rtn) has no such option; it"
                        + " belongs to gptq",
                "--preset=fp8 --method=rtn|--method: a preset names its methods itself",
                "--preset=fp9|--preset: unknown preset fp9; known: w4a16, ",
                "--preset=w8a8-static --asymmetric|--asymmetric: preset w8a8-static stands for",
                "--method=rtn --scheme=fp8-dynamic --bits=4|--bits: bits is for grids of integers",
                "--method=rtn --scheme=fp8-dynamic --clip=mse|--clip: clip is for grids of integers",
                "--method=rtn --scheme=fp9|--scheme: scheme is fp9, expected one of w4a16, ",
            })
    void contradictionsAreRefused(String flags, String sentence) {
        Cli cli = quantize(Cli.TALE_LLAMA, flags.split(" ", -1));
        assertThat(cli.exit()).as(cli.err()).isEqualTo(ExitCode.USAGE);
        assertThat(cli.err()).startsWith("llmc: " + sentence);
        assertThat(dir).isEmptyDirectory();
    }

    @ParameterizedTest
    @CsvSource(
            delimiter = '|',
            value = {
                "--preset=fp8 --layout=gptq|gptq holds integers and leaves inputs as they are",
                "--preset=w8a16 --layout=awq|awq holds integers of 4 bits and leaves inputs",
            })
    void whatALayoutCannotSpellIsRefused(String flags, String sentence) {
        Cli cli = quantize(Cli.TALE_LLAMA, flags.split(" ", -1));
        assertThat(cli.exit()).as(cli.err()).isEqualTo(ExitCode.FAILED);
        assertThat(cli.err().lines().toList().getLast()).startsWith("llmc: " + sentence);
        assertThat(dir).isEmptyDirectory();
    }

    @Test
    void flagsAndRecipesChangeWhatIsUsual() throws IOException {
        Cli flags = quantize(Cli.TINY_LLAMA, "--preset=w8a16", "--group-size=32", "-q");
        assertThat(flags.exit()).as(flags.err()).isZero();
        Path recipe =
                Files.writeString(
                        dir.resolve("recipe.yaml"),
                        """
                        model: %s
                        output: %s
                        steps:
                          - sweep:
                              - preset: w8a16
                                groupSize: 32
                                targets: [q_proj]
                              - rtn: {scheme: w4a16, groupSize: 32, ignore: [q_proj]}
                        """
                                .formatted(Cli.TINY_LLAMA, dir.resolve("mixed")));
        Cli run = Cli.run("run", recipe, "-q");
        assertThat(run.exit()).as(run.err()).isZero();
        JsonNode made = new ObjectMapper().readTree(dir.resolve("out/llmc.json").toFile());
        assertThat(made.at("/recipe/steps/0/sweep/0/preset").asText()).isEqualTo("w8a16");
        assertThat(made.at("/presets/w8a16").toString())
                .isEqualTo("[{\"rtn\":{\"scheme\":\"w8a16\",\"bits\":8,\"groupSize\":32}}]");
        JsonNode groups =
                new ObjectMapper()
                        .readTree(dir.resolve("mixed/config.json").toFile())
                        .at("/quantization_config/config_groups");
        assertThat(groups.at("/group_0/weights/num_bits").asInt()).isEqualTo(8);
        assertThat(groups.at("/group_1/weights/num_bits").asInt()).isEqualTo(4);
    }

    @ParameterizedTest
    @CsvSource({"--preset=w8a16, /preset", "--method=rtn, /rtn/bits"})
    void flagsOfWhatSurroundsTheBlocksJoinAnyChain(String chain, String key) throws IOException {
        Cli cli = quantize(Cli.TINY_LLAMA, chain, "--head=8", "--group-size=32", "-q");
        assertThat(cli.exit()).as(cli.err()).isZero();
        JsonNode sweep =
                new ObjectMapper()
                        .readTree(dir.resolve("out/llmc.json").toFile())
                        .at("/recipe/steps/0/sweep");
        assertThat(sweep.at("/0/outer/head").asInt()).isEqualTo(8);
        assertThat(sweep.at("/1" + key).isMissingNode()).isFalse();
        assertThat(quantize(Cli.TINY_LLAMA, "--method=outer").err())
                .contains("unknown method outer");
    }
}
