// SPDX-License-Identifier: Apache-2.0
package io.llmc.cli;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import java.awt.image.BufferedImage;
import java.io.File;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.TimeUnit;
import java.util.stream.Stream;
import javax.imageio.ImageIO;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/// The page that `eval --report` writes.
class ReportIT {
    private static final List<String> BROWSERS =
            List.of("chromium", "chromium-browser", "google-chrome");

    @TempDir private static Path dir;
    private static Path page;

    @BeforeAll
    static void measure() {
        Path model = dir.resolve("w4");
        Cli made =
                Cli.run(
                        "quantize",
                        Cli.TALE_LLAMA,
                        "-o",
                        model,
                        "--method=rtn",
                        "--clip=none",
                        "-q");
        assertThat(made.exit()).as(made.err()).isZero();
        page = dir.resolve("report.html");
        Cli cli =
                eval(
                        model,
                        "--against=" + Cli.TALE_LLAMA,
                        "--tasks=" + Cli.TESTDATA.resolve("tasks/piqa.jsonl"),
                        "--gate=kld_mean<0.5",
                        "--gate=perplexity<1");
        assertThat(cli.exit()).as(cli.err()).isEqualTo(ExitCode.MISSED);
    }

    private static Cli eval(Path model, String... more) {
        Stream<String> words =
                Stream.concat(
                        Stream.of(
                                "eval",
                                model.toString(),
                                "-q",
                                "--data=" + Cli.TALE_LLAMA.resolve("test.txt"),
                                "--window=128",
                                "--max-windows=4",
                                "--report=" + page),
                        Stream.of(more));
        return Cli.run(words.toArray());
    }

    @Test
    void allThatWasMeasuredIsThere() throws IOException {
        assertThat(Files.readString(page))
                .contains(
                        "compared with testdata/tale-llama, on testdata/tale-llama/test.txt, 508 tokens",
                        "1 of 2 gates passed",
                        "Size and quality",
                        "Divergence from the original",
                        "The furthest tokens",
                        "<mark>",
                        "Tasks",
                        "Errors of layers",
                        "Recipe and provenance",
                        "- rtn:");
    }

    @Test
    void nothingIsFetchedAndNothingRuns() throws IOException {
        assertThat(Files.readString(page))
                .doesNotContain(
                        "http://", "https://", "<script", "<link", "src=", "url(", "@import");
    }

    @Test
    void aModelByItselfAndAgainstABaseHaveReportsToo() throws IOException {
        Path own = page;
        try {
            page = dir.resolve("alone.html");
            Cli alone = eval(Cli.TALE_LLAMA, "--save-kld-base=" + dir.resolve("base.kld"));
            assertThat(alone.exit()).as(alone.err()).isZero();
            assertThat(Files.readString(page))
                    .contains("Where it does well", "holds no llmc.json")
                    .doesNotContain("The furthest tokens");
            Cli base =
                    Cli.run(
                            "eval",
                            dir.resolve("w4"),
                            "-q",
                            "--kld-base=" + dir.resolve("base.kld"),
                            "--report=" + page);
            assertThat(base.exit()).as(base.err()).isZero();
            assertThat(Files.readString(page))
                    .contains("compared with the predictions in", "The furthest tokens");
        } finally {
            page = own;
        }
    }

    @Test
    void namesAndTextsOfFilesAreNoMarkup() throws IOException {
        Path model = Files.createDirectory(dir.resolve("<img src=x>&'"));
        for (String file : List.of("config.json", "model.safetensors", "tokenizer.json")) {
            Files.copy(Cli.TALE_LLAMA.resolve(file), model.resolve(file));
        }
        Files.writeString(
                model.resolve("llmc.json"),
                """
                {"llmc_version": "<script>1</script>", "recipe": {"a": "</pre><script>2</script>", "b": "\\ud800"},
                 "input_sha256": {"<script>3": "<script>4"},
                 "modules": [{"module": "<script>.0.<script>", "relative_error": 0.5,
                              "warnings": ["<script>5"]}]}
                """);
        Path text =
                Files.writeString(dir.resolve("text.txt"), "<script>alert(1)</script> ".repeat(50));
        Path out = dir.resolve("markup.html");
        Cli cli =
                Cli.run(
                        "eval",
                        model,
                        "-q",
                        "--against=" + Cli.TALE_LLAMA,
                        "--data=" + text,
                        "--window=64",
                        "--max-windows=2",
                        "--report=" + out);
        assertThat(cli.exit()).as(cli.err()).isZero();
        assertThat(Files.readString(out))
                .contains("&lt;img src=x&gt;&amp;&#39;", "&lt;script&gt;5")
                .doesNotContain("<script", "<img");
    }

    @Test
    void aBrokenProvenanceIsRefusedBeforeTheWork() throws IOException {
        Path model = Files.createDirectory(dir.resolve("broken"));
        for (String file : List.of("config.json", "model.safetensors", "tokenizer.json")) {
            Files.copy(Cli.TALE_LLAMA.resolve(file), model.resolve(file));
        }
        Files.writeString(model.resolve("llmc.json"), "{");
        Cli cli = eval(model);
        assertThat(cli.exit()).isEqualTo(ExitCode.FAILED);
        assertThat(cli.err()).contains("llmc.json").hasLineCount(1);
        assertThat(cli.out()).isEmpty();
    }

    /// The page has the colours of the reader's scheme, and drawings are drawn.
    @ParameterizedTest
    @CsvSource({"1, ffffff, 1f6feb", "0, 0f1216, 6cabff"})
    void aBrowserShowsIt(int scheme, String background, String marks) throws Exception {
        Optional<String> browser = browser();
        assumeTrue(browser.isPresent(), "no Chromium on the PATH");
        Path shot = dir.resolve("shot" + scheme + ".png");
        Process process =
                new ProcessBuilder(
                                browser.orElseThrow(),
                                "--headless",
                                "--no-sandbox",
                                "--disable-gpu",
                                "--user-data-dir=" + dir.resolve("profile"),
                                "--blink-settings=preferredColorScheme=" + scheme,
                                "--window-size=900,4000",
                                "--screenshot=" + shot,
                                page.toUri().toString())
                        .redirectErrorStream(true)
                        .redirectOutput(dir.resolve("browser.log").toFile())
                        .start();
        assertThat(process.waitFor(120, TimeUnit.SECONDS)).isTrue();
        assertThat(process.exitValue()).isZero();
        Map<String, Integer> colours = colours(ImageIO.read(shot.toFile()));
        assertThat(colours.get(background)).isGreaterThan(900 * 4000 / 2);
        // Histograms alone have more.
        assertThat(colours.get(marks)).isGreaterThan(10_000);
    }

    private static Map<String, Integer> colours(BufferedImage image) {
        Map<String, Integer> counts = new HashMap<>();
        for (int y = 0; y < image.getHeight(); y++) {
            for (int x = 0; x < image.getWidth(); x++) {
                counts.merge("%06x".formatted(image.getRGB(x, y) & 0xffffff), 1, Integer::sum);
            }
        }
        return counts;
    }

    private static Optional<String> browser() {
        String path = Optional.ofNullable(System.getenv("PATH")).orElse("");
        return BROWSERS.stream()
                .filter(name ->
                        Stream.of(path.split(File.pathSeparator, -1))
                                .anyMatch(d -> Files.isExecutable(Path.of(d, name))))
                .findFirst();
    }
}
