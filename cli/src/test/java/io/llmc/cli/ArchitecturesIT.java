// SPDX-License-Identifier: Apache-2.0
package io.llmc.cli;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assertions.assertAll;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import io.llmc.formats.HfConfig;
import io.llmc.formats.TestFiles;
import io.llmc.formats.checkpoint.Checkpoint;
import io.llmc.formats.checkpoint.TensorReader;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.SortedMap;
import java.util.SortedSet;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.regex.Pattern;
import java.util.stream.Collectors;
import java.util.stream.IntStream;
import java.util.stream.Stream;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.function.Executable;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/// Every method on every architecture: it ends in a model that llmc reads again, or it says in one
/// sentence what stops it.
@Tag("long")
class ArchitecturesIT {
    /// Words of the text, all with ids below every vocabulary's end.
    private static final int WORDS = 90;

    /// Some of the models, by a regular expression for their names.
    private static final String ONLY = System.getProperty("llmc.models", ".*");

    private static final Path PAGE = Path.of("docs/architectures.md");
    private static final String MARK = "<!-- by ArchitecturesIT -->";

    /// What each method said of each folder; empty where it worked.
    private static final SortedMap<String, Map<String, String>> said = new TreeMap<>();

    @TempDir private Path dir;

    /// Their folder itself where it is absent, so that what is skipped shows.
    static Stream<Path> models() {
        Path oracles = TestFiles.shared("oracles/architectures");
        Stream<Path> ours =
                TestFiles.directories(TestFiles.testdata(), "tiny-")
                        .filter(d -> d.getFileName().toString().matches(".*(mamba|jamba)"));
        return Files.isDirectory(oracles)
                ? Stream.concat(TestFiles.directories(oracles, ""), ours)
                        .filter(d -> d.getFileName().toString().matches(ONLY))
                : Stream.of(oracles);
    }

    /// The commands, without model, output and text.
    private static Map<String, List<String>> commands() {
        Map<String, List<String>> all = new LinkedHashMap<>();
        all.put("rtn 4", List.of("quantize", "--method", "rtn", "--group-size", "channel"));
        all.put(
                "rtn 8",
                List.of("quantize", "--method", "rtn", "--bits", "8", "--group-size", "channel"));
        all.put("gptq 4", List.of("quantize", "--method", "gptq", "--group-size", "channel"));
        all.put(
                "gptq 8",
                List.of("quantize", "--method", "gptq", "--bits", "8", "--group-size", "channel"));
        all.put("awq", List.of("quantize", "--method", "awq", "--group-size", "channel"));
        all.put("wanda", List.of("prune", "--method", "wanda", "--sparsity", "0.5"));
        all.put(
                "width",
                List.of("prune", "--method", "width", "--ffn", "0.8", "--multiple-of", "1"));
        all.put("heads", List.of("prune", "--method", "width", "--heads", "0.5"));
        all.put("kv-heads", List.of("prune", "--method", "kv-heads", "--to", "1"));
        all.put("experts", List.of("prune", "--method", "experts", "--keep", "3"));
        all.put("layers", List.of("prune", "--method", "layers", "--drop", "1"));
        all.put("slice", List.of("prune", "--method", "slice", "--hidden", "32"));
        return all;
    }

    @ParameterizedTest
    @MethodSource("models")
    void everyMethodWorksOrSaysWhy(Path source) throws IOException {
        assumeTrue(Files.isDirectory(source), "no " + source + " here: skipped");
        String folder = source.getFileName().toString();
        Path model = withTokenizer(source);
        Path text = dir.resolve("text.txt");
        Files.writeString(
                text,
                IntStream.range(0, 1200)
                        .mapToObj(i -> "w" + (i * 7919L + i * i / 7) % WORDS)
                        .collect(Collectors.joining(" ")));
        List<Executable> checks = new ArrayList<>();
        commands()
                .forEach((name, command) -> {
                    List<Object> words = new ArrayList<>(command);
                    words.addAll(
                            List.of(
                                    model,
                                    "-o",
                                    dir.resolve(name.replace(" ", "")),
                                    "--device",
                                    "cpu"));
                    if (!name.startsWith("rtn") && !name.equals("kv-heads")) {
                        words.addAll(
                                List.of(
                                        "--calib-data",
                                        text,
                                        "--calib-samples",
                                        "16",
                                        "--calib-length",
                                        "16"));
                    }
                    checks.add(() -> check(folder, name, words));
                });
        checks.add(() ->
                check(
                        folder,
                        "distill",
                        List.of(
                                "distill",
                                model,
                                "--teacher",
                                model,
                                "--data",
                                text,
                                "--steps",
                                "5",
                                "--length",
                                "16",
                                "--batch",
                                "2",
                                "--holdout",
                                "2",
                                "--device",
                                "cpu",
                                "-o",
                                dir.resolve("distill"))));
        assertAll(folder, checks);
    }

    private void check(String folder, String name, List<Object> words) {
        Cli run = Cli.run(words.toArray());
        Path out = dir.resolve(name.replace(" ", ""));
        said.computeIfAbsent(folder, _ -> new LinkedHashMap<>())
                .put(name, run.exit() == 0 ? "" : first(run.err()));
        if (run.exit() == 0) {
            try (Checkpoint c = Checkpoint.open(out)) {
                assertThat(c.names()).as(name).isNotEmpty();
                if (name.equals("rtn 8")) {
                    everythingElseStays(dir.resolve(folder), c);
                    everythingElseIsIgnored(c);
                }
            }
            return;
        }
        assertThat(run.exit()).as("%s: %s", name, first(run.err())).isEqualTo(1);
        // A refusal comes before the work, and is about the model, not about what llmc made of it.
        assertThat(first(run.err()))
                .as(name)
                .doesNotContain("read back", "please report", dir.toString());
        assertThat(out).as(name).doesNotExist();
    }

    /// What is not rounded has its name and its bytes: norms, vision towers, layers that predict
    /// further tokens.
    private static void everythingElseStays(Path source, Checkpoint written) {
        try (Checkpoint original = Checkpoint.open(source);
                TensorReader before = original.reader();
                TensorReader after = written.reader()) {
            for (String tensor : original.names()) {
                if (written.has(tensor)) {
                    assertThat(after.tensor(tensor).bytes().mismatch(before.tensor(tensor).bytes()))
                            .as(tensor)
                            .isEqualTo(-1);
                } else if (!tensor.contains("experts")) {
                    String layer = tensor.replaceFirst("\\.weight$", "");
                    assertThat(written.scheme(layer)).as("what became of %s", tensor).isPresent();
                }
            }
        }
    }

    /// A reader that makes a layer with codes of every matrix that its config does not name finds
    /// none that has no codes, whatever it puts before the names of a model's parts.
    private static void everythingElseIsIgnored(Checkpoint written) {
        List<String> ignore =
                written.config().section("quantization_config").orElseThrow().texts("ignore");
        List<Pattern> patterns =
                ignore.stream()
                        .filter(i -> i.startsWith("re:"))
                        .map(i -> Pattern.compile(i.substring(3)))
                        .toList();
        for (String tensor : written.names()) {
            String module = tensor.replaceFirst("\\.weight$", "");
            String leaf = module.substring(module.lastIndexOf('.') + 1);
            boolean table = leaf.contains("embed") || leaf.equals("wte") || leaf.equals("wpe");
            if (!module.equals(tensor)
                    && written.info(tensor).shape().rank() == 2
                    && written.info(tensor).dtype().isFloat()
                    && !table) {
                boolean ignored =
                        ignore.contains(module)
                                || patterns.stream().anyMatch(p -> p.matcher(module).lookingAt());
                assertThat(ignored).as("%s in %s", module, ignore).isTrue();
            }
        }
    }

    /// The sentence of an error.
    private static String first(String err) {
        return err.lines()
                .filter(line -> line.startsWith("llmc: "))
                .findFirst()
                .map(line -> line.substring("llmc: ".length()))
                .orElse(err);
    }

    /// With `-Dllmc.renew=true` the table of docs/architectures.md is written anew.
    @AfterAll
    static void table() throws IOException {
        if (!Boolean.getBoolean("llmc.renew") || said.isEmpty()) {
            return;
        }
        String text = Files.readString(PAGE);
        String names = String.join(" | ", commands().keySet());
        StringBuilder table =
                new StringBuilder("| folder | %s | distill |\n|---|".formatted(names));
        table.append("---|".repeat(commands().size() + 1)).append('\n');
        SortedMap<String, SortedSet<String>> reasons = new TreeMap<>();
        said.forEach((folder, results) -> {
            table.append("| ").append(folder).append(" |");
            results.forEach((name, why) -> {
                table.append(why.isEmpty() ? " yes |" : " - |");
                if (!why.isEmpty()) {
                    reasons.computeIfAbsent(name + ": " + why, _ -> new TreeSet<>()).add(folder);
                }
            });
            table.append('\n');
        });
        table.append('\n');
        reasons.forEach((why, folders) ->
                table.append("- %s (%s)\n".formatted(why, String.join(", ", folders))));
        int at = text.indexOf(MARK) + MARK.length();
        Files.writeString(PAGE, text.substring(0, at) + "\n\n" + table);
    }

    private Path withTokenizer(Path source) throws IOException {
        Path model = Files.createDirectory(dir.resolve(source.getFileName()));
        try (Stream<Path> files = Files.list(source)) {
            for (Path file : files.toList()) {
                String name = file.getFileName().toString();
                if (name.startsWith("model") || name.equals("config.json")) {
                    Files.copy(file, model.resolve(name));
                }
            }
        }
        int vocabulary = HfConfig.read(model.resolve("config.json")).text().integer("vocab_size");
        String words =
                IntStream.range(0, Math.min(WORDS, vocabulary))
                        .mapToObj(i -> "\"w%d\": %d".formatted(i, i))
                        .collect(Collectors.joining(", "));
        Files.writeString(
                model.resolve("tokenizer.json"),
                """
                {"version": "1.0", "added_tokens": [], "pre_tokenizer": {"type": "Whitespace"},
                 "model": {"type": "WordLevel", "vocab": {%s}, "unk_token": "w0"}}
                """
                        .formatted(words));
        return model;
    }
}
