// SPDX-License-Identifier: Apache-2.0
package io.llmc.cli;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.MessageDigest;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.stream.Stream;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/// What an output may replace, and what it is made of.
class OutputIT {
    @TempDir private Path dir;
    private Path model;
    private Path text;
    private Path out;

    @BeforeEach
    void copy() throws IOException {
        model = Files.createDirectories(dir.resolve("home/model"));
        try (Stream<Path> files = Files.list(Cli.TINY_LLAMA)) {
            for (Path file : files.filter(Files::isRegularFile).toList()) {
                Files.copy(file, model.resolve(file.getFileName()));
            }
        }
        text =
                Files.copy(
                        Cli.TALE_LLAMA.resolve("calibration.txt"),
                        dir.resolve("home/calibration.txt"));
        out = dir.resolve("out");
    }

    private Cli rtn(Object output, Object... more) {
        return run("quantize", model, output, more, "--method", "rtn", "--group-size", 32);
    }

    private static Cli run(
            String command, Path model, Object output, Object[] more, Object... args) {
        List<Object> all = new ArrayList<>(List.of(command, model, "-o", output, "-q"));
        all.addAll(Arrays.asList(args));
        all.addAll(Arrays.asList(more));
        return Cli.run(all.toArray());
    }

    /// One sentence, exit code 1, and not a byte is changed anywhere.
    private void refused(Map<String, String> before, Cli cli, String... words) throws IOException {
        assertThat(cli.exit()).as(cli.err()).isEqualTo(ExitCode.FAILED);
        assertThat(cli.err()).startsWith("llmc: ").contains(words).hasLineCount(1);
        assertThat(tree()).isEqualTo(before);
    }

    /// Everything below the test's directory: hashes, links, directories.
    private Map<String, String> tree() throws IOException {
        Map<String, String> tree = new TreeMap<>();
        try (Stream<Path> all = Files.walk(dir)) {
            for (Path path : all.toList()) {
                String name = dir.relativize(path).toString();
                tree.put(
                        name,
                        Files.isSymbolicLink(path)
                                ? "-> " + Files.readSymbolicLink(path)
                                : Files.isDirectory(path) ? "/" : hash(path));
            }
        }
        return tree;
    }

    private static String hash(Path file) throws IOException {
        try {
            MessageDigest digest = MessageDigest.getInstance("SHA-256");
            return HexFormat.of().formatHex(digest.digest(Files.readAllBytes(file)));
        } catch (java.security.NoSuchAlgorithmException e) {
            throw new IllegalStateException(e);
        }
    }

    @ParameterizedTest
    @ValueSource(strings = {"", "--force", "--dry-run"})
    void noInputIsReplaced(String flag) throws IOException {
        Object[] more = flag.isEmpty() ? new Object[0] : new Object[] {flag};
        Files.createSymbolicLink(dir.resolve("link"), model);
        Files.createSymbolicLink(dir.resolve("up"), dir.resolve("home"));
        // Every input could be taken for something that llmc has made.
        Files.writeString(model.resolve("llmc.json"), "{\"llmc_version\": \"1\"}");
        Files.writeString(dir.resolve("home/llmc.json"), "{\"llmc_version\": \"1\"}");
        Map<String, String> before = tree();
        refused(before, rtn(model, more), "output " + model + " is the model");
        refused(before, rtn(dir.resolve("link"), more), "is the model");
        refused(before, rtn(dir.resolve("up/model"), more), "is the model");
        refused(before, rtn(dir.resolve("home/x/../model"), more), "is the model");
        refused(before, rtn(model.resolve("."), more), "is the model");
        refused(before, rtn(dir.resolve("home"), more), "holds the model");
        refused(before, rtn(dir.resolve("up"), more), "holds the model");
        refused(before, rtn(dir.resolve("up/model/.."), more), "holds the model");
        refused(before, rtn(model.resolve("out"), more), "lies inside the model");
        refused(before, rtn(dir.resolve("link/a/b"), more), "lies inside the model");
        Object[] data = {"--calib-data", text, "--bits", 4};
        Object[] all = Stream.concat(Arrays.stream(data), Arrays.stream(more)).toArray();
        refused(before, run("quantize", model, text, all), text + " is a file");
        Object[] prune = {"--method", "wanda", "--sparsity", 0.5, "--calib-data", text};
        refused(
                before,
                run("prune", Cli.TINY_LLAMA, dir.resolve("home"), more, prune),
                "holds the calibration text");
        Object[] teach = {"--teacher", model, "--data", text};
        refused(before, run("distill", Cli.TINY_LLAMA, model, more, teach), "is the teacher");
        refused(
                before,
                run("distill", Cli.TINY_LLAMA, dir.resolve("home"), more, teach),
                "holds the teacher");
        List<Object> save =
                new ArrayList<>(
                        List.of(
                                "distill",
                                "--save-teacher",
                                model.resolve("cache"),
                                "--teacher",
                                model,
                                "--data",
                                text));
        save.addAll(Arrays.asList(more));
        refused(before, Cli.run(save.toArray()), "lies inside the model");
    }

    @ParameterizedTest
    @ValueSource(booleans = {false, true})
    void noInputOfARecipeIsReplaced(boolean dry) throws IOException {
        Path recipe = dir.resolve("home/recipe.yaml");
        Path first = dir.resolve("out.llmc-step-1");
        Files.createDirectories(first);
        Files.copy(text, first.resolve("text.txt"));
        String yaml =
                """
                model: %s
                output: %s
                steps:
                  - sweep:
                      - magnitude: {sparsity: 0.5}
                  - sweep:
                      - rtn: {bits: 4, groupSize: 32}
                  - evaluate: {data: %s, against: %s}
                """;
        Files.writeString(recipe, yaml.formatted(model, out, text, model));
        Map<String, String> before = tree();
        for (Object[] c :
                new Object[][] {
                    {"output=" + dir.resolve("home"), "holds the model"},
                    {"output=" + recipe, "is a file"},
                    {"model=" + Cli.TINY_LLAMA, "output=" + dir.resolve("home"), "holds the text"},
                    {
                        "model=" + Cli.TINY_LLAMA,
                        "steps.2.evaluate.data=" + Cli.TALE_LLAMA.resolve("test.txt"),
                        "output=" + model,
                        "is the original"
                    },
                    {
                        "model=" + Cli.TINY_LLAMA,
                        "steps.2.evaluate.data=" + Cli.TALE_LLAMA.resolve("test.txt"),
                        "steps.2.evaluate.against=" + Cli.TINY_LLAMA,
                        "output=" + dir.resolve("home"),
                        "holds the recipe"
                    },
                    {
                        "steps.2.evaluate.data=" + first.resolve("text.txt"),
                        "output " + first + " holds the text"
                    },
                }) {
            List<Object> args = new ArrayList<>(List.of("run", recipe, "--force"));
            for (int i = 0; i + 1 < c.length; i++) {
                args.addAll(List.of("--set", c[i]));
            }
            if (dry) {
                args.add("--dry-run");
            }
            refused(before, Cli.run(args.toArray()), c[c.length - 1].toString());
        }
    }

    /// As in the cache of a hub: the model's files are links to what lies elsewhere.
    @Test
    void whatAModelLinksToIsNotReplaced() throws IOException {
        Path made = dir.resolve("made");
        assertThat(rtn(made, "--layout", "dense").exit()).isZero();
        Files.delete(model.resolve("model.safetensors"));
        Files.createSymbolicLink(
                model.resolve("model.safetensors"), made.resolve("model.safetensors"));
        Map<String, String> before = tree();
        refused(before, rtn(made, "--force"), "holds the model, ");
    }

    @Test
    void unfinishedWorkIsNoModelForItsOwnOutput() throws IOException {
        Path work = dir.resolve("out.llmc-partial");
        Files.move(model, work);
        Files.writeString(work.resolve("journal.jsonl"), "");
        Map<String, String> before = tree();
        refused(
                before,
                run("quantize", work, out, new Object[] {"--force"}, "--method", "rtn"),
                "is worked on in " + work + ", which holds the model");
    }

    @Test
    void forceReplacesOnlyWhatLlmcHasMade() throws IOException {
        Files.createDirectories(out);
        assertThat(rtn(out).exit()).isZero();
        refused(tree(), rtn(out), "exists and is not empty", "--force");
        assertThat(rtn(out, "--force").exit()).isZero();
        Path mine = Files.createDirectory(dir.resolve("mine"));
        Files.writeString(mine.resolve("thesis.txt"), "text");
        refused(tree(), rtn(mine), "exists and is not empty", "only what llmc has made");
        refused(tree(), rtn(mine, "--force"), "llmc has not made it", "no llmc.json");
        refused(tree(), rtn(mine, "--force", "--dry-run"), "llmc has not made it");
        for (String other : List.of("", "{}", "[1]", "not JSON", "{\"llmc_version\": 1}")) {
            Files.writeString(mine.resolve("llmc.json"), other);
            refused(tree(), rtn(mine, "--force"), "llmc has not made it");
        }
        Files.delete(mine.resolve("llmc.json"));
        Files.createDirectory(mine.resolve("llmc.json"));
        refused(tree(), rtn(mine, "--force"), "llmc has not made it");
        Files.move(mine, dir.resolve("free.llmc-partial"));
        refused(tree(), rtn(dir.resolve("free"), "--force"), "free.llmc-partial is in the way");
        Files.move(dir.resolve("free.llmc-partial"), dir.resolve("free.llmc-old"));
        refused(tree(), rtn(dir.resolve("free"), "--force"), "free.llmc-old is in the way");
    }

    @ParameterizedTest
    @ValueSource(strings = {"", "--force", "--dry-run"})
    void whereNoDirectoryCanBeIsSaidAtOnce(String flag) throws IOException {
        Object[] more = flag.isEmpty() ? new Object[0] : new Object[] {flag};
        Path file = Files.writeString(dir.resolve("file"), "text");
        Files.createSymbolicLink(dir.resolve("dangling"), dir.resolve("nothing"));
        Files.createSymbolicLink(dir.resolve("tofile"), file);
        Map<String, String> before = tree();
        refused(before, rtn(file, more), "is a file");
        refused(before, rtn(dir.resolve("tofile"), more), "is a file");
        refused(before, rtn(file.resolve("out"), more), "lies below " + file.toRealPath());
        refused(before, rtn(file.resolve("a/b"), more), "lies below " + file.toRealPath());
        refused(before, rtn(dir.resolve("dangling"), more), "is a link to nothing");
        refused(before, rtn("/dev/null", more), "is a file");
        for (String working : List.of(".", "./", "..", "../..", "/", "testdata/..")) {
            refused(before, rtn(working, more), "the working directory");
        }
    }

    @Test
    void aLinkToADirectoryLeadsThere() throws IOException {
        Path there = Files.createDirectories(dir.resolve("disk/there"));
        Files.createSymbolicLink(out, there);
        assertThat(rtn(out).exit()).isZero();
        assertThat(there.resolve("model.safetensors")).exists();
        assertThat(rtn(out, "--force").exit()).isZero();
        assertThat(out).isSymbolicLink();
        assertThat(dir.resolve("disk")).isDirectoryContaining(p -> p.endsWith("there"));
        assertThat(there.getParent().toFile().list()).containsExactly("there");
    }

    @Test
    void noResultIsWrittenOverAnInput() throws IOException {
        Path result = model.resolve("result.json");
        Path ids = Files.writeString(dir.resolve("ids.safetensors"), "ids");
        Map<String, String> before = tree();
        for (String name : List.of("config.json", "model.safetensors", "tokenizer.json")) {
            if (Files.exists(model.resolve(name))) {
                Path file = model.resolve(name);
                refused(before, rtn(out, "--json", file), "would overwrite a file of the model");
                refused(before, Cli.run("inspect", model, "--json", file), "would overwrite");
                Cli eval = Cli.run("eval", model, "--data", text, "--json", file);
                refused(before, eval, "would overwrite");
                Cli dump = Cli.run("eval", model, "--input-ids", ids, "--save-logits", file);
                refused(before, dump, "--save-logits", "would overwrite");
            }
        }
        refused(
                before,
                Cli.run("eval", model, "--data", text, "--json", text),
                "would overwrite the text");
        refused(
                before,
                Cli.run("eval", model, "--input-ids", ids, "--save-logits", ids),
                "would overwrite the input ids");
        refused(before, rtn(out, "--json", dir), "is a directory");
        // Results of other commands may lie beside a model, and be replaced.
        assertThat(Cli.run("inspect", model, "--json", result).exit()).isZero();
        assertThat(Cli.run("inspect", model, "--json", result).exit()).isZero();
    }
}
