// SPDX-License-Identifier: Apache-2.0
package io.llmc.cli;

import static org.assertj.core.api.Assertions.assertThat;

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

/// Names that options give are names of something, each of them.
class TargetsIT {
    @TempDir private Path dir;

    private Cli rtn(Path model, Object... flags) {
        List<Object> args =
                new ArrayList<>(
                        List.of("quantize", model, "-o", dir.resolve("out"), "--method", "rtn"));
        args.addAll(List.of("--group-size", "32", "--dry-run"));
        args.addAll(List.of(flags));
        return Cli.run(args.toArray());
    }

    private static void refused(Cli cli, String... words) {
        assertThat(cli.exit()).as(cli.err()).isEqualTo(ExitCode.FAILED);
        assertThat(cli.err()).startsWith("llmc: ").contains(words);
        assertThat(cli.err().lines()).as(cli.err()).hasSize(1);
    }

    @ParameterizedTest
    @CsvSource(
            delimiter = '|',
            value = {
                "--ignore|dwon_proj|ignore dwon_proj matches none|did you mean down_proj?",
                "--targets|q_proj,k_porj|targets k_porj matches none|did you mean k_proj?",
                "--ignore|down_proj,*.mpl.*|ignore *.mpl.*|did you mean *.mlp.*?",
                "--ignore|re:self_attn.*|ignore re:self_attn.*|did you mean re:.*self_attn.*?",
                "--targets|lm_head|targets lm_head is out of reach|the output layer stays as it is",
                "--targets|q_proj,embed_tokens|embed_tokens is out of reach|stays as it is",
                "--targets|re:.*norm$|re:.*norm$ is out of reach|input_layernorm stays as it is",
                "--ignore|Linear|select none of the 14 linear layers|ignore",
            })
    void eachPatternMatchesSomething(String flag, String value, String what, String then) {
        refused(rtn(Cli.TINY_LLAMA, flag, value), what, then);
    }

    @Test
    void listsThatOtherToolsWriteAreUnderstood() {
        Cli cli = rtn(Cli.TINY_LLAMA, "--targets", "Linear", "--ignore", "lm_head,re:.*k_proj$");
        assertThat(cli.exit()).as(cli.err()).isEqualTo(ExitCode.OK);
        assertThat(cli.out())
                .containsPattern("k_proj +2 .*as it is")
                .containsPattern("q_proj +2 .*4 bits")
                .contains("note: ignore lm_head changes nothing: the output layer");
        Cli braces = rtn(Cli.TINY_LLAMA, "--targets", "re:.*layers.[0-1]{1,2}.mlp,o_proj");
        assertThat(braces.out()).containsPattern("o_proj +2 .*4 bits").contains("down_proj");
        Cli routers =
                rtn(
                        Cli.TESTDATA.resolve("tiny-mixtral"),
                        "--ignore",
                        "lm_head,re:.*block_sparse_moe.gate$");
        assertThat(routers.exit()).as(routers.err()).isEqualTo(ExitCode.OK);
        assertThat(routers.out()).contains("gate stays as it is anyway");
    }

    @Test
    void blocksAtTheEndsAreLeftAlone() {
        Cli cli = rtn(Cli.TALE_LLAMA, "--skip-first", "1", "--skip-last", "1");
        assertThat(cli.exit()).as(cli.err()).isEqualTo(ExitCode.OK);
        assertThat(cli.out())
                .containsPattern("q_proj +2 .*as it is")
                .containsPattern("q_proj +1 .*4 bits");
        refused(
                rtn(Cli.TINY_LLAMA, "--skip-first", "1", "--skip-last", "1"),
                "--skip-first 1 and --skip-last 1 leave none of the 2 blocks");
        assertThat(rtn(Cli.TINY_LLAMA, "--skip-last=-1").err())
                .startsWith("llmc: --skip-last: skipLast is -1, expected at least 0");
    }

    @Test
    void aListOfNothingIsAMistake() {
        Cli cli = rtn(Cli.TINY_LLAMA, "--targets", " , ");
        assertThat(cli.exit()).isEqualTo(ExitCode.USAGE);
        assertThat(cli.err()).startsWith("llmc: --targets: names nothing");
        Cli regex = rtn(Cli.TINY_LLAMA, "--ignore", "re:(q");
        assertThat(regex.exit()).isEqualTo(ExitCode.USAGE);
        assertThat(regex.err()).contains("--ignore", "no regular expression");
    }

    @Test
    void prunersAndRecipesToo() throws IOException {
        refused(
                Cli.run(
                        "prune",
                        Cli.TINY_LLAMA,
                        "-o",
                        dir.resolve("out"),
                        "--method",
                        "magnitude",
                        "--ignore",
                        "up_porj"),
                "ignore up_porj matches none",
                "did you mean up_proj?");
        Path recipe =
                Files.writeString(
                        dir.resolve("recipe.yaml"),
                        """
                        model: %s
                        output: %s
                        steps:
                          - sweep:
                              - layers: {layers: [1]}
                              - magnitude: {pattern: "2:4", targets: ["*.layers.0.*"]}
                              - rtn: {groupSize: 32, ignore: ["model.layers.1.*"]}
                        """
                                .formatted(Cli.TINY_LLAMA, dir.resolve("out")));
        // Of the two blocks one is left when the last method comes.
        refused(Cli.run("run", recipe), "ignore model.layers.1.* matches none");
        try (Stream<Path> files = Files.list(dir)) {
            assertThat(files).containsExactly(recipe);
        }
    }

    @ParameterizedTest
    @CsvSource({
        "--train,*norm*|lm_haed*,--train lm_haed* matches none,names look like",
        "--lora-targets,q_proj|k_porj,--lora-targets k_porj matches none,did you mean k_proj?",
        "--lora-targets,lm_head,--lora-targets lm_head is out of reach,the output layer",
    })
    void studentsToo(String flag, String value, String what, String then) throws IOException {
        String all = Files.readString(Cli.TALE_LLAMA.resolve("calibration.txt"));
        Path text = Files.writeString(dir.resolve("text.txt"), all.substring(0, 8000));
        List<Object> args =
                new ArrayList<>(
                        List.of(
                                "distill",
                                Cli.TALE_LLAMA,
                                "-o",
                                dir.resolve("out"),
                                "--teacher",
                                Cli.TALE_LLAMA,
                                "--data",
                                text,
                                "--length",
                                "32",
                                "--holdout",
                                "1",
                                flag,
                                value.replace('|', ',')));
        if (flag.startsWith("--lora")) {
            args.addAll(List.of("--lora", "2"));
        }
        refused(Cli.run(args.toArray()), what, then);
    }
}
