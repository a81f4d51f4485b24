// SPDX-License-Identifier: Apache-2.0
package io.llmc.cli;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.dataformat.yaml.YAMLMapper;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Collectors;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/// The pipelines of docs/ci.md, run by a shell as they stand there.
class PipelineIT {
    private static final Path SHELL = Path.of("/bin/sh");
    private static final Path DOCUMENT = Cli.TESTDATA.resolveSibling("docs/ci.md");

    @TempDir private Path dir;

    /// A program `llmc` that is this build.
    @BeforeEach
    void putOnThePath() throws IOException {
        assumeTrue(Files.isExecutable(SHELL), "no /bin/sh");
        Path program = Files.createDirectory(dir.resolve("bin")).resolve("llmc");
        Files.writeString(
                program,
                """
                #!/bin/sh
                exec '%s' --add-modules=jdk.incubator.vector --enable-native-access=ALL-UNNAMED -cp '%s' %s "$@"
                """
                        .formatted(
                                Path.of(System.getProperty("java.home"), "bin", "java"),
                                System.getProperty("java.class.path"),
                                Llmc.class.getName()));
        assertThat(program.toFile().setExecutable(true)).isTrue();
    }

    private static List<String> blocks(String language) throws IOException {
        Matcher block =
                Pattern.compile("(?ms)^```" + language + "\n(.*?)^```$")
                        .matcher(Files.readString(DOCUMENT));
        return block.results().map(r -> r.group(1)).toList();
    }

    private void run(String script, Map<String, String> environment) throws Exception {
        Path log = dir.resolve("log.txt");
        ProcessBuilder builder =
                new ProcessBuilder(SHELL.toString(), "-e", "-c", script)
                        .redirectErrorStream(true)
                        .redirectOutput(log.toFile());
        builder.environment()
                .merge("PATH", dir.resolve("bin") + ":", (path, bin) -> bin.concat(path));
        builder.environment().putAll(environment);
        assertThat(builder.start().waitFor()).as(() -> text(log)).isZero();
    }

    private static String text(Path file) {
        try {
            return Files.readString(file);
        } catch (IOException e) {
            return e.toString();
        }
    }

    @Test
    void theShellScriptPasses() throws Exception {
        List<String> blocks = blocks("sh");
        assertThat(blocks).hasSize(2);
        run(String.join("\n", blocks), Map.of("work", dir.toString()));
        requireReports(dir, dir.resolve("summary.md"), 4);
    }

    @Test
    void theGitHubJobPasses() throws Exception {
        JsonNode job =
                new YAMLMapper().readTree(blocks("yaml").getFirst()).path("jobs").path("gates");
        String script =
                job.path("steps")
                        .valueStream()
                        .filter(step -> step.has("run"))
                        .map(step -> step.path("run").asText())
                        .collect(Collectors.joining("\n"));
        Path summary = dir.resolve("step-summary.md");
        run(
                script,
                Map.of(
                        "MODEL",
                        job.path("env").path("MODEL").asText(),
                        "RUNNER_TEMP",
                        dir.toString(),
                        "GITHUB_STEP_SUMMARY",
                        summary.toString()));
        requireReports(dir, summary, 3);
    }

    private static void requireReports(Path dir, Path summary, int gates) throws IOException {
        JsonNode result = new ObjectMapper().readTree(dir.resolve("eval.json").toFile());
        assertThat(result.path("passed").asBoolean()).isTrue();
        assertThat(result.path("gates")).hasSize(gates);
        assertThat(Files.readString(dir.resolve("gates.xml")))
                .contains("tests=\"%d\" failures=\"0\"".formatted(gates));
        assertThat(Files.readString(summary)).contains("**%d gates passed**".formatted(gates));
    }
}
