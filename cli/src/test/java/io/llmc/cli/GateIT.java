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
import javax.xml.parsers.DocumentBuilderFactory;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;
import org.w3c.dom.Document;
import org.w3c.dom.Element;

/// What a measurement must reach, and the files that say whether it did.
class GateIT {
    private static final Path TEXT = Cli.TALE_LLAMA.resolve("test.txt");

    @TempDir private Path dir;

    private Cli eval(Object... more) {
        List<Object> words =
                new ArrayList<>(
                        List.of("eval", Cli.TALE_LLAMA, "--window=64", "--max-windows=2", "-q"));
        words.addAll(List.of(more));
        return Cli.run(words.toArray());
    }

    @Test
    void aMissedGateIsExitCodeThreeAndEveryResultIsThere() throws Exception {
        Path junit = dir.resolve("gates.xml");
        Path markdown = dir.resolve("summary.md");
        Path json = dir.resolve("eval.json");
        Cli cli =
                eval(
                        "--data=" + TEXT,
                        "--against=" + Cli.TALE_LLAMA,
                        "--gate=kld_mean<0.05",
                        "--gate=perplexity <= 1",
                        "--gate=top1_agreement>=1",
                        "--junit=" + junit,
                        "--markdown=" + markdown,
                        "--json=" + json);
        assertThat(cli.exit()).as(cli.err()).isEqualTo(ExitCode.MISSED);
        assertThat(cli.err())
                .startsWith("llmc: 1 of 3 gates missed: perplexity is ")
                .endsWith(", expected <= 1" + System.lineSeparator());
        assertThat(cli.out())
                .contains("perplexity (gptq)")
                .containsPattern("perplexity <= 1 +[0-9.]+  missed");
        JsonNode result = new ObjectMapper().readTree(json.toFile());
        assertThat(faults(result)).isEmpty();
        assertThat(result.path("passed").asBoolean()).isFalse();
        assertThat(result.path("gates").valueStream().map(g -> g.path("passed").asBoolean()))
                .containsExactly(true, false, true);
        assertThat(Files.readString(markdown))
                .startsWith("## llmc eval: testdata/tale-llama\n\n**1 of 3 gates missed: ")
                .contains("| kld\\_mean \\< 0.05 | 0 | passed |")
                .contains("|  | model | original |\n|---|--:|--:|\n| perplexity (gptq) |");
        requireCases(junit, 3, 1);
    }

    private static void requireCases(Path junit, int tests, int failures) throws Exception {
        Document xml =
                DocumentBuilderFactory.newDefaultInstance()
                        .newDocumentBuilder()
                        .parse(junit.toFile());
        Element root = xml.getDocumentElement();
        assertThat(root.getTagName()).isEqualTo("testsuites");
        assertThat(root.getAttribute("tests")).isEqualTo(Integer.toString(tests));
        assertThat(root.getAttribute("failures")).isEqualTo(Integer.toString(failures));
        assertThat(xml.getElementsByTagName("testcase").getLength()).isEqualTo(tests);
        assertThat(xml.getElementsByTagName("failure").getLength()).isEqualTo(failures);
    }

    /// Names come from outside: they are text, whatever they hold.
    @Test
    void namesAreNoMarkup() throws Exception {
        Path model = Files.createDirectory(dir.resolve("a\"<b>&'|`*"));
        for (String file : List.of("config.json", "model.safetensors", "tokenizer.json")) {
            Files.copy(Cli.TALE_LLAMA.resolve(file), model.resolve(file));
        }
        Path junit = dir.resolve("gates.xml");
        Path markdown = dir.resolve("summary.md");
        Cli cli =
                Cli.run(
                        "eval",
                        model,
                        "--window=64",
                        "--max-windows=2",
                        "-q",
                        "--data=" + TEXT,
                        "--gate=perplexity>1",
                        "--junit=" + junit,
                        "--markdown=" + markdown);
        assertThat(cli.exit()).as(cli.err()).isZero();
        requireCases(junit, 1, 0);
        assertThat(Files.readString(markdown))
                .contains("a\"\\<b>\\&'\\|\\`\\*")
                .doesNotContain("<b>&");
    }

    @ParameterizedTest
    @ValueSource(strings = {"gptq", "llama.cpp", "sliding"})
    void theSchemaDescribesEveryFigure(String convention) throws IOException {
        Path json = dir.resolve("eval.json");
        for (Object[] more :
                new Object[][] {{"--against=" + Cli.TALE_LLAMA}, {}, {"--gate=loss<10"}}) {
            List<Object> words =
                    new ArrayList<>(
                            List.of(
                                    "--data=" + TEXT,
                                    "--convention=" + convention,
                                    "--json=" + json));
            words.addAll(List.of(more));
            Cli cli = eval(words.toArray());
            assertThat(cli.exit()).as(cli.err()).isZero();
            assertThat(faults(new ObjectMapper().readTree(json.toFile()))).isEmpty();
        }
    }

    @Test
    void theSchemaDescribesAComparisonWithABase() throws IOException {
        Path base = dir.resolve("base.kld");
        Path json = dir.resolve("eval.json");
        Cli saved = eval("--data=" + TEXT, "--save-kld-base=" + base, "--json=" + json);
        assertThat(saved.exit()).as(saved.err()).isZero();
        assertThat(faults(new ObjectMapper().readTree(json.toFile()))).isEmpty();
        Cli cli = eval("--kld-base=" + base, "--gate=kld_mean<1e-4", "--json=" + json);
        assertThat(cli.exit()).as(cli.err()).isZero();
        assertThat(cli.out()).contains("KLD base", "base.kld");
        assertThat(faults(new ObjectMapper().readTree(json.toFile()))).isEmpty();
    }

    @Test
    void figuresOfTasksHaveGates() throws IOException {
        Path json = dir.resolve("eval.json");
        Path markdown = dir.resolve("summary.md");
        String tasks = "--tasks=" + Cli.TESTDATA.resolve("tasks/piqa.jsonl");
        Cli cli =
                eval(
                        tasks,
                        "--against=" + Cli.TALE_LLAMA,
                        "--gate=tasks.piqa.acc_lost<=0",
                        "--json=" + json,
                        "--markdown=" + markdown);
        assertThat(cli.exit()).as(cli.err()).isZero();
        assertThat(faults(new ObjectMapper().readTree(json.toFile()))).isEmpty();
        assertThat(Files.readString(markdown))
                .contains("| task | metric | items | model | original | change |");
        usage(eval(tasks, "--gate=tasks.piqa.ac>0"), "did you mean tasks.piqa.acc?");
    }

    private static List<String> faults(JsonNode result) throws IOException {
        Path schema = Cli.TESTDATA.resolveSibling("docs/eval.schema.json");
        return JsonSchema.faults(new ObjectMapper().readTree(schema.toFile()), result);
    }

    @Test
    void whatCannotBeJudgedOrWrittenIsRefusedBeforeTheWork() throws IOException {
        String data = "--data=" + TEXT;
        usage(eval(data, "--gate=perplexiti<1"), "did you mean perplexity?");
        usage(eval(data, "--gate=kld_mean<1"), "kld_mean is a figure of a comparison", "--against");
        usage(eval(data, "--gate=model<1"), "there is no figure model");
        usage(eval(data, "--gate=perplexity=1"), "is no gate; write");
        usage(eval(data, "--junit=" + dir.resolve("x")), "--junit: there are no test cases");
        for (String flag : List.of("--junit=", "--markdown=")) {
            Cli nowhere = eval(data, "--gate=loss<9", flag + dir.resolve("none/x"));
            assertThat(nowhere.exit()).isEqualTo(ExitCode.FAILED);
            assertThat(nowhere.err()).contains("there is no directory to write it in");
            Cli read = eval(data, "--gate=loss<9", flag + TEXT);
            assertThat(read.exit()).isEqualTo(ExitCode.FAILED);
            assertThat(read.err()).contains("would overwrite a file of the model");
        }
        try (var files = Files.list(dir)) {
            assertThat(files).isEmpty();
        }
    }

    private static void usage(Cli cli, String... words) {
        assertThat(cli.exit()).as(cli.err()).isEqualTo(ExitCode.USAGE);
        assertThat(cli.err()).startsWith("llmc: --").contains(words);
        assertThat(cli.out()).isEmpty();
    }
}
