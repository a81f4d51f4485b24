// SPDX-License-Identifier: Apache-2.0
package io.llmc.cli;

import static org.assertj.core.api.Assertions.assertThat;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import io.llmc.pipeline.OutputDirectory;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.lang.foreign.FunctionDescriptor;
import java.lang.foreign.Linker;
import java.lang.foreign.SymbolLookup;
import java.lang.foreign.ValueLayout;
import java.lang.invoke.MethodHandle;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Collectors;
import java.util.stream.IntStream;
import java.util.stream.Stream;

/// Commands that die at calls which change files, and are run again. A process of its own, with
/// `crash.cpp` preloaded: its arguments are that library, an empty directory, `all` or `some`, and
/// the names of commands.
///
/// After each death the old output or the new one is there, whole; the same command then ends in
/// the bytes of a run that nothing disturbed, does no finished work again, and leaves nothing else.
final class CrashRuns {
    private static final int STEPS = 6;
    private static final int SAVE_EVERY = 2;
    private static final Pattern CONTINUED = Pattern.compile("continuing after step (\\d+)");

    private final Path model;
    private final Path dir;
    private final Path area;
    private final Path out;
    private final MethodHandle begin;
    private final MethodHandle end;

    private CrashRuns(Path library, Path dir) throws IOException {
        this.dir = dir;
        this.model = dir.resolve("model");
        this.area = dir.resolve("area");
        this.out = area.resolve("out");
        SymbolLookup crash = SymbolLookup.libraryLookup(library, Arena.global());
        begin =
                Linker.nativeLinker()
                        .downcallHandle(
                                crash.findOrThrow("crash_begin"),
                                FunctionDescriptor.ofVoid(
                                        ValueLayout.ADDRESS,
                                        ValueLayout.JAVA_LONG,
                                        ValueLayout.JAVA_INT,
                                        ValueLayout.ADDRESS));
        end =
                Linker.nativeLinker()
                        .downcallHandle(
                                crash.findOrThrow("crash_end"),
                                FunctionDescriptor.of(ValueLayout.JAVA_LONG));
        makeModel();
    }

    public static void main(String[] args) throws Exception {
        CrashRuns runs = new CrashRuns(Path.of(args[0]), Path.of(args[1]));
        for (int i = 3; i < args.length; i++) {
            runs.crash(args[i], args[2].equals("all"));
        }
    }

    /// The bundled tiny model with a tokenizer of words, and a text of them.
    private void makeModel() throws IOException {
        Files.createDirectories(model);
        for (String file : List.of("config.json", "model.safetensors")) {
            Files.copy(Cli.TINY_LLAMA.resolve(file), model.resolve(file));
        }
        String words =
                IntStream.range(0, 256)
                        .mapToObj(i -> "\"w%d\": %d".formatted(i, i))
                        .collect(Collectors.joining(", "));
        Files.writeString(
                model.resolve("tokenizer.json"),
                """
                {"version": "1.0", "truncation": null, "padding": null, "added_tokens": [],
                 "normalizer": null, "pre_tokenizer": {"type": "Whitespace"},
                 "post_processor": null, "decoder": null,
                 "model": {"type": "WordLevel", "vocab": {%s}, "unk_token": "w0"}}
                """
                        .formatted(words));
        Files.writeString(
                text(),
                new java.util.Random(5)
                        .ints(2000, 0, 256)
                        .mapToObj(i -> "w" + i)
                        .collect(Collectors.joining(" ")));
        Files.writeString(
                dir.resolve("recipe.yaml"),
                """
                model: %s
                output: %s
                calibration: {data: %s, samples: 4, length: 16}
                steps:
                  - sweep:
                      - layers: {drop: 1, score: block-influence}
                      - wanda: {sparsity: 0.5, allocation: owl}
                  - evaluate: {data: %s, window: 16, maxWindows: 2}
                  - distill: {teacher: %s, data: %s, steps: 2, batch: 2, length: 16, holdout: 2}
                  - sweep:
                      - gptq: {bits: 4, groupSize: 32}
                  - evaluate: {data: %s, window: 16, maxWindows: 2}
                """
                        .formatted(model, out, text(), text(), model, text(), text()));
    }

    private Path text() {
        return dir.resolve("text.txt");
    }

    private List<Object> command(String name) {
        List<Object> calibration =
                List.of("--calib-data", text(), "--calib-samples", 4, "--calib-length", 16);
        List<Object> learning =
                List.of(
                        "--teacher",
                        model,
                        "--data",
                        text(),
                        "--steps",
                        STEPS,
                        "--batch",
                        2,
                        "--length",
                        16,
                        "--holdout",
                        2,
                        "--save-every",
                        SAVE_EVERY);
        return switch (name) {
            case "quantize" ->
                    join(
                            List.of("quantize", model, "-o", out, "--group-size", 32, "--force"),
                            calibration);
            case "shards" ->
                    join(
                            List.of("quantize", model, "-o", out, "--group-size", 32),
                            List.of("--shard-size", "32K", "--method", "rtn"));
            case "prune" ->
                    join(
                            List.of("prune", model, "-o", out, "--method", "wanda", "--force"),
                            List.of("--sparsity", "0.5", "--allocation", "owl"),
                            calibration);
            case "slice" ->
                    join(
                            List.of("prune", model, "-o", out, "--method", "slice"),
                            List.of("--hidden", 48),
                            calibration);
            case "distill" ->
                    join(List.of("distill", model, "-o", out, "--every", 2, "--force"), learning);
            case "blockwise" -> join(List.of("distill", model, "-o", out, "--blockwise"), learning);
            case "adapter" ->
                    join(List.of("distill", model, "-o", out, "--lora", 2, "--adapter"), learning);
            case "save-teacher" ->
                    List.of(
                            "distill",
                            "--save-teacher",
                            out,
                            "--teacher",
                            model,
                            "--data",
                            text(),
                            "--length",
                            64,
                            "--top-k",
                            4,
                            "--force");
            case "recipe" -> List.of("run", dir.resolve("recipe.yaml"), "--force");
            default -> throw new IllegalArgumentException(name);
        };
    }

    @SafeVarargs
    private static List<Object> join(List<Object>... parts) {
        return Stream.of(parts).flatMap(List::stream).toList();
    }

    private void crash(String name, boolean all) throws Exception {
        List<Object> command = command(name);
        Map<String, String> old = Map.of();
        if (command.contains("--force")) {
            fresh(null);
            run(List.of("quantize", model, "-o", out, "--method", "rtn", "--group-size", 32));
            Files.move(out, dir.resolve("old-" + name));
            old = tree(dir.resolve("old-" + name));
        }
        fresh(name);
        begin(0, false);
        Cli calm = run(command);
        long calls = end();
        assertThat(calm.exit()).as(calm.err()).isZero();
        requireAlone();
        Map<String, String> whole = tree(out);
        List<String> trace = Files.readAllLines(dir.resolve("trace"));
        assertThat(trace).hasSize((int) calls);
        requireSynced(trace);
        Set<Integer> points = new TreeSet<>();
        for (int i = 1; i <= calls; i++) {
            if (all || isSample(trace, i - 1)) {
                points.add(i);
            }
        }
        for (int point : points) {
            String call = trace.get(point - 1);
            List<Boolean> halves =
                    call.startsWith("write ") ? List.of(false, true) : List.of(false);
            for (boolean half : halves) {
                try {
                    die(name, command, point, half, old, whole);
                } catch (AssertionError | RuntimeException e) {
                    throw new AssertionError(
                            "%s, call %d of %d (%s)%s: %s"
                                    .formatted(
                                            name,
                                            point,
                                            calls,
                                            call,
                                            half ? ", half of it" : "",
                                            e.getMessage()),
                            e);
                }
            }
        }
        System.out.printf("%s: died at %d of %d calls%n", name, points.size(), calls);
    }

    /// The first call of each name, and all from the last one before the output's swap on.
    private static boolean isSample(List<String> trace, int index) {
        String name = trace.get(index).replaceAll(" .*", "");
        int first = 0;
        while (!trace.get(first).startsWith(name + " ")) {
            first++;
        }
        return index == first || index >= trace.lastIndexOf("rename out.llmc-partial") - 1;
    }

    /// Everything that becomes the output is on the disk before it gets the name, and the name is
    /// before the end.
    private static void requireSynced(List<String> trace) {
        int swap = trace.lastIndexOf("rename out.llmc-partial");
        assertThat(swap).isPositive();
        for (int i = 0; i < swap; i++) {
            String call = trace.get(i);
            if (call.matches("write out\\.llmc-partial/.*") && !call.endsWith(".tmp")) {
                String file = call.substring("write ".length());
                List<String> after = trace.subList(i, swap);
                assertThat(
                                after.contains("fsync " + file)
                                        || after.contains("unlink " + file)
                                        || after.contains("rmdir " + file))
                        .as(file + " is synced before the swap")
                        .isTrue();
            }
        }
        assertThat(trace.subList(0, swap)).contains("fsync out.llmc-partial");
        assertThat(trace.subList(swap, trace.size())).contains("fsync ");
    }

    private void die(
            String name,
            List<Object> command,
            long point,
            boolean half,
            Map<String, String> old,
            Map<String, String> whole)
            throws Exception {
        fresh(name);
        begin(point, half);
        Cli dead = run(command);
        end();
        assertThat(dead.exit()).as("a call was refused").isNotZero();
        requireWhole(old, whole);
        boolean done = Files.exists(out) && tree(out).equals(whole) && isAlone();
        if (done) {
            return;
        }
        int blocks = journaled("block");
        // Once the output has its result, the directories on the way to it go.
        int results = Files.exists(out.resolve("journal.jsonl")) ? 3 : journaled("result");
        int steps = lines(area.resolve("out.llmc-partial/train-times.jsonl"));
        Path json = dir.resolve("result.json");
        Files.deleteIfExists(json);
        Cli again = run(join(command, List.of("--json", json)));
        assertThat(again.exit()).as(again.err()).isZero();
        assertThat(tree(out)).isEqualTo(whole);
        requireAlone();
        JsonNode result = new ObjectMapper().readTree(json.toFile());
        switch (name) {
            case "quantize", "shards", "prune", "slice" ->
                    assertThat(result.path("resumed_blocks").asInt()).isEqualTo(blocks);
            case "distill", "adapter" -> {
                Matcher continued = CONTINUED.matcher(again.err());
                int from = continued.find() ? Integer.parseInt(continued.group(1)) : 0;
                if (results == 0) {
                    assertThat(from).isGreaterThanOrEqualTo((steps - 1) / SAVE_EVERY * SAVE_EVERY);
                } else {
                    assertThat(again.err()).doesNotContain("distilling");
                }
            }
            case "recipe" -> {
                assertThat(count(again.err(), "compressing ..."))
                        .isEqualTo((results < 1 ? 1 : 0) + (results < 3 ? 1 : 0));
                assertThat(count(again.err(), "distilling ...")).isEqualTo(results < 2 ? 1 : 0);
            }
            default -> {}
        }
    }

    /// The output is the old one or the new one, or the old one stands whole beside it.
    private void requireWhole(Map<String, String> old, Map<String, String> whole)
            throws IOException {
        if (Files.exists(out)) {
            assertThat(tree(out)).isIn(old, whole);
        } else if (!old.isEmpty()) {
            assertThat(tree(area.resolve("out.llmc-old"))).isEqualTo(old);
        }
    }

    /// Whole journal lines of a kind, in all journals.
    private int journaled(String kind) throws IOException {
        int lines = 0;
        try (Stream<Path> files = Files.walk(area)) {
            for (Path file : files.filter(f -> f.endsWith("journal.jsonl")).toList()) {
                String text = Files.readString(file);
                String whole = text.substring(0, text.lastIndexOf('\n') + 1);
                lines += count(whole, "\"line\":{\"%s\":".formatted(kind));
            }
        }
        return lines;
    }

    private static int count(String text, String part) {
        return text.split(Pattern.quote(part), -1).length - 1;
    }

    private static int lines(Path file) throws IOException {
        return Files.exists(file) ? Files.readAllLines(file).size() : 0;
    }

    private boolean isAlone() throws IOException {
        try (Stream<Path> files = Files.list(area)) {
            return files.allMatch(f -> f.equals(out) || f.endsWith("out.llmc-lock"))
                    && !Files.exists(out.resolve("journal.jsonl"));
        }
    }

    private void requireAlone() throws IOException {
        try (Stream<Path> files = Files.list(area)) {
            assertThat(files).containsExactly(out);
        }
        assertThat(out.resolve("journal.jsonl")).doesNotExist();
    }

    /// @param name of the command whose old output is put there; null for none
    private void fresh(String name) throws IOException {
        OutputDirectory.deleteTree(area);
        Files.createDirectories(area);
        Path old = dir.resolve("old-" + name);
        if (Files.exists(old)) {
            Files.createDirectory(out);
            try (Stream<Path> files = Files.list(old)) {
                for (Path file : files.toList()) {
                    Files.copy(file, out.resolve(file.getFileName()));
                }
            }
        }
    }

    private void begin(long point, boolean half) {
        try (Arena arena = Arena.ofConfined()) {
            begin.invokeExact(
                    arena.allocateFrom(area + "/"),
                    point,
                    half ? 1 : 0,
                    arena.allocateFrom(dir.resolve("trace").toString()));
        } catch (Throwable e) {
            throw new IllegalStateException(e);
        }
    }

    private long end() {
        try {
            return (long) end.invokeExact();
        } catch (Throwable e) {
            throw new IllegalStateException(e);
        }
    }

    private static Cli run(List<Object> command) {
        return Cli.run(command.toArray());
    }

    /// Contents of a directory, but for the journal and the readings of a clock.
    private static Map<String, String> tree(Path directory) throws IOException {
        Map<String, String> tree = new TreeMap<>();
        try (Stream<Path> all = Files.walk(directory)) {
            for (Path path : all.filter(Files::isRegularFile).toList()) {
                String name = directory.relativize(path).toString();
                if (!Set.of("journal.jsonl", "train-times.jsonl").contains(name)) {
                    tree.put(name, java.util.HexFormat.of().formatHex(Files.readAllBytes(path)));
                }
            }
        }
        return tree;
    }
}
