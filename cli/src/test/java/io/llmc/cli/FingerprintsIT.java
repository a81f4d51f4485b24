// SPDX-License-Identifier: Apache-2.0
package io.llmc.cli;

import static org.assertj.core.api.Assertions.assertThat;

import io.llmc.formats.Sha256;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.SequencedMap;
import java.util.TreeSet;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import org.junit.jupiter.api.DynamicTest;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.TestFactory;
import org.junit.jupiter.api.io.TempDir;

/// Every method, layout and mode gives the bytes that it gave before: the commands of
/// `testdata/fingerprints.txt`, computed with `--math portable`, and the sums of
/// `testdata/fingerprints.sha256`, which `testdata/fingerprints --renew` writes.
@Tag("long")
class FingerprintsIT {
    private static final Path SUMS = Cli.TESTDATA.resolve("fingerprints.sha256");
    private static final Path CASES = Cli.TESTDATA.resolve("fingerprints.txt");

    private static final Map<String, String> SHORT =
            Map.of(
                    "@", "--calib-data text.txt --calib-samples 8 --calib-length 128",
                    "%", "--calib-data text.txt --calib-samples 8 --calib-length 64",
                    "&", "--data text.txt --steps 3 --batch 2 --length 64 --holdout 2 --every 2");

    /// Options whose values are files in the working directory.
    private static final List<String> FILES =
            List.of(
                    "--calib-data",
                    "--data",
                    "--mix",
                    "--teacher",
                    "--teacher-cache",
                    "--save-teacher",
                    "--input-ids",
                    "--save-logits");

    private static final String RECIPE =
            """
            model: %1$s/tale
            output: %1$s/recipe
            calibration: {data: %1$s/text.txt, samples: 8, length: 128}
            steps:
              - sweep:
                  - width: {ffn: 0.75}
              - distill: {teacher: %1$s/tale, data: %1$s/text.txt, steps: 2, batch: 2, length: 64, holdout: 2}
              - sweep:
                  - wanda: {pattern: "2:4", targets: ["*.mlp.*"]}
                  - gptq: {bits: 4, groupSize: 64, ignore: [down_proj]}
                  - rtn: {bits: 4, groupSize: 64, targets: [down_proj]}
            save: {layout: compressed-tensors, shardSize: 1M}
            """;

    @TempDir private static Path work;

    @TestFactory
    Stream<DynamicTest> outputsAreWhatTheyWere() throws IOException {
        makeInputs();
        boolean renew = Boolean.getBoolean("llmc.renew");
        SequencedMap<String, String> expected = renew ? new LinkedHashMap<>() : expected();
        List<String> found = new ArrayList<>();
        Stream<DynamicTest> cases =
                Files.readAllLines(CASES).stream()
                        .filter(line -> !line.isBlank() && !line.startsWith("#"))
                        .map(line -> List.of(line.strip().split(" +", 2)))
                        .map(c ->
                                DynamicTest.dynamicTest(
                                        c.getFirst(),
                                        () -> {
                                            SequencedMap<String, String> sums =
                                                    run(c.getFirst(), c.getLast());
                                            sums.forEach((k, v) -> found.add(v + "  " + k));
                                            if (!renew) {
                                                assertThat(sums)
                                                        .isEqualTo(of(c.getFirst(), expected));
                                            }
                                        }));
        DynamicTest last =
                DynamicTest.dynamicTest(
                        "nothing else",
                        () -> {
                            if (renew) {
                                Files.write(SUMS, found);
                            }
                            assertThat(found).hasSameSizeAs(Files.readAllLines(SUMS));
                        });
        return Stream.concat(cases, Stream.of(last));
    }

    private static void makeInputs() throws IOException {
        copy(Cli.TALE_LLAMA, work.resolve("tale"));
        try (Stream<Path> folders = Files.list(Cli.TESTDATA)) {
            for (Path folder :
                    folders.filter(f -> Files.exists(f.resolve("golden.safetensors"))).toList()) {
                Path model = work.resolve(folder.getFileName());
                copy(folder, model);
                Files.copy(
                        Cli.TESTDATA.resolve("byte-tokenizer/tokenizer.json"),
                        model.resolve("tokenizer.json"));
            }
        }
        Files.copy(Cli.TINY_LLAMA.resolve("golden.safetensors"), work.resolve("ids.safetensors"));
        String text = Files.readString(Cli.TALE_LLAMA.resolve("calibration.txt"));
        Files.writeString(work.resolve("text.txt"), text.substring(0, 60_000));
        StringBuilder records = new StringBuilder();
        text.substring(60_000, 66_000)
                .lines()
                .filter(line -> !line.isBlank())
                .forEach(line ->
                        records.append(
                                "{\"text\": \"%s\"}\n".formatted(line.replace("\"", "\\\""))));
        Files.writeString(work.resolve("records.jsonl"), records);
        Files.writeString(work.resolve("steps.yaml"), RECIPE.formatted(work));
    }

    private static void copy(Path from, Path to) throws IOException {
        Files.createDirectory(to);
        try (Stream<Path> files = Files.list(from)) {
            for (Path file : files.toList()) {
                Files.copy(file, to.resolve(file.getFileName()));
            }
        }
    }

    private static SequencedMap<String, String> expected() throws IOException {
        SequencedMap<String, String> expected = new LinkedHashMap<>();
        for (String line : Files.readAllLines(SUMS)) {
            expected.put(line.substring(66), line.substring(0, 64));
        }
        return expected;
    }

    private static SequencedMap<String, String> of(
            String name, SequencedMap<String, String> expected) {
        SequencedMap<String, String> own = new LinkedHashMap<>();
        expected.forEach((file, sum) -> {
            if (file.equals(name) || file.startsWith(name + "/")) {
                own.put(file, sum);
            }
        });
        return own;
    }

    /// @return name of file to SHA-256 of everything that the command wrote
    private static SequencedMap<String, String> run(String name, String command)
            throws IOException {
        Object[] words = words(name, command).toArray();
        Cli cli = Cli.run(words);
        assertThat(cli.exit()).as(cli.err()).isZero();
        Path output = work.resolve(name);
        SequencedMap<String, String> sums = new LinkedHashMap<>();
        if (Files.isRegularFile(output)) {
            sums.put(name, Sha256.of(output));
            return sums;
        }
        try (Stream<Path> files = Files.list(output)) {
            for (Path file : new TreeSet<>(files.toList())) {
                String fileName = file.getFileName().toString();
                // It has clock readings.
                if (!fileName.equals("train-times.jsonl")) {
                    sums.put(name + "/" + fileName, sum(file));
                }
            }
        }
        return sums;
    }

    /// Of JSON without the version and the working directory's path.
    private static String sum(Path file) throws IOException {
        if (!file.toString().endsWith(".json")) {
            return Sha256.of(file);
        }
        return Sha256.of(
                Files.readAllLines(file).stream()
                        .filter(line -> !line.contains("\"llmc_version\""))
                        .map(line -> line.replace(work.toString(), ""))
                        .collect(Collectors.joining("\n")));
    }

    /// Names of files become paths in the working directory.
    private static List<String> words(String name, String command) {
        String written = command;
        for (Map.Entry<String, String> e : SHORT.entrySet()) {
            written = written.replace(e.getKey(), e.getValue());
        }
        List<String> words = new ArrayList<>();
        for (String word : written.split(" ", -1)) {
            String before = words.isEmpty() ? "" : words.getLast();
            boolean file = words.size() == 1 || FILES.contains(before);
            words.add(
                    file && !word.startsWith("-")
                            ? word.replaceAll("(^|,)", "$1" + work + "/")
                            : word);
        }
        boolean elsewhere = written.contains("--save-") || words.getFirst().equals("run");
        if (!elsewhere) {
            words.addAll(List.of("-o", work.resolve(name).toString()));
        }
        if (!written.contains("--threads")) {
            words.addAll(List.of("--threads", "2"));
        }
        words.addAll(List.of("--device", "cpu", "--math", "portable", "-q"));
        return words;
    }
}
