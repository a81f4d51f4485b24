// SPDX-License-Identifier: Apache-2.0
package io.llmc.cli;

import static org.assertj.core.api.Assertions.assertThat;

import io.llmc.formats.TensorInfo;
import io.llmc.formats.checkpoint.Checkpoint;
import io.llmc.formats.checkpoint.TensorReader;
import io.llmc.formats.safetensors.CheckpointWriter;
import io.llmc.tensor.Tensor;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import java.util.zip.CRC32C;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/// `--memory`: every command keeps it or says the least that works, and nothing depends on it. What
/// a run takes is counted where it is taken, and a run that took more than its cap would stop.
@Tag("long")
class MemoryIT {
    private static final Pattern LEAST =
            Pattern.compile("--memory .* is too little: the least that works here is (\\d+)M;");
    private static final Path CALIBRATION = Cli.TALE_LLAMA.resolve("calibration.txt");

    @TempDir private Path dir;

    @BeforeEach
    void shortText() throws IOException {
        String text = Files.readString(CALIBRATION).substring(0, 4000);
        Files.writeString(dir.resolve("short.txt"), text);
    }

    private List<Object> words(String command, String output) {
        List<Object> words = new ArrayList<>();
        for (String word : command.split(" ", -1)) {
            switch (word) {
                case "TALE" -> words.add(Cli.TALE_LLAMA);
                case "TEXT" -> words.add(CALIBRATION);
                case "TASKS" -> words.add(Cli.TESTDATA.resolve("tasks/piqa.jsonl"));
                case "SHORT" -> words.add(dir.resolve("short.txt"));
                case "OUT" -> words.add(dir.resolve(output));
                default -> words.add(word.startsWith("tiny-") ? Cli.TESTDATA.resolve(word) : word);
            }
        }
        words.addAll(List.of("--device", "cpu", "--threads", "2"));
        return words;
    }

    private Cli run(String command, String output, String memory) {
        List<Object> words = words(command, output);
        if (memory != null) {
            words.addAll(List.of("--memory", memory));
        }
        return Cli.run(words.toArray());
    }

    private static int least(Cli refused) {
        assertThat(refused.exit()).describedAs(refused.err()).isEqualTo(1);
        Matcher m = LEAST.matcher(refused.err());
        assertThat(m.find()).describedAs(refused.err()).isTrue();
        return Integer.parseInt(m.group(1));
    }

    /// Checksums.
    private Map<String, Long> files(String output) throws IOException {
        Map<String, Long> files = new TreeMap<>();
        try (Stream<Path> all = Files.walk(dir.resolve(output))) {
            for (Path file : all.filter(Files::isRegularFile).toList()) {
                // Says how long the work took, and how it was asked for.
                if (!file.endsWith("llmc.json") && !file.endsWith("train-times.jsonl")) {
                    CRC32C crc = new CRC32C();
                    crc.update(Files.readAllBytes(file));
                    files.put(file.getFileName().toString(), crc.getValue());
                }
            }
        }
        return files;
    }

    @ParameterizedTest
    @ValueSource(
            strings = {
                "eval TALE --data TEXT --window 64 --max-windows 40",
                "eval TALE --data TEXT --window 64 --max-windows 40 --against TALE",
                "eval TALE --data TEXT --window 32 --max-windows 3 --convention sliding",
                "eval TALE --tasks TASKS",
                "eval TALE --tasks TASKS --fewshot 2 --against TALE"
            })
    void anEvaluationKeepsTheCapOrSaysTheLeastThatWorks(String command) throws IOException {
        int least = least(run(command, "none", "1"));
        assertThat(least(run(command, "none", least * 1048576L - 1 + ""))).isEqualTo(least);
        Cli tight = run(command, "none", least + "M");
        assertThat(tight.exit()).describedAs(tight.err()).isEqualTo(0);
        Cli free = run(command, "none", null);
        assertThat(figures(tight)).isEqualTo(figures(free));
        assertThat(run(command + " --dry-run", "none", null).out())
                .contains("memory", "outside the Java heap");
    }

    /// Without those of the clock, and of what the cap is about.
    private static String figures(Cli cli) {
        return cli.out()
                .lines()
                .filter(line -> !line.startsWith("tokens a second") && !line.startsWith("memory"))
                .collect(Collectors.joining("\n"));
    }

    private static final String LEARN =
            "distill TALE -o OUT --teacher TALE --data SHORT --steps 2 --batch 2 --length 32"
                    + " --holdout 1";

    @ParameterizedTest
    @ValueSource(
            strings = {
                "",
                " --checkpoint-blocks",
                " --optimizer adamw8bit --train *norm*",
                " --lora 4",
                " --lora 4 --adapter",
                " --hidden 1 --attention 1",
                " --blockwise",
                " --blockwise --lora 4",
                " --blockwise --lora 4 --adapter",
            })
    void trainingKeepsTheCapOrSaysTheLeastThatWorks(String how) throws IOException {
        aWriterKeepsTheCapOrSaysTheLeastThatWorks(LEARN + how);
        planned(LEARN + how);
    }

    @ParameterizedTest
    @ValueSource(strings = {"tiny-gpt2", "tiny-mixtral", "tiny-gemma3_text", "tiny-phi3"})
    void trainingOfEveryKindOfModelKeepsTheCap(String model) throws IOException {
        Path copy = Files.createDirectory(dir.resolve("model"));
        for (String name : List.of("config.json", "model.safetensors")) {
            Files.copy(Cli.TESTDATA.resolve(model).resolve(name), copy.resolve(name));
        }
        Files.copy(
                Cli.TESTDATA.resolve("byte-tokenizer/tokenizer.json"),
                copy.resolve("tokenizer.json"));
        aWriterKeepsTheCapOrSaysTheLeastThatWorks(
                "distill MODEL -o OUT --teacher MODEL --data SHORT --steps 1 --batch 1 --length 16"
                        .replace("MODEL", copy.toString()));
    }

    @Test
    void aSavedTeacherAndItsStudentKeepTheCap() throws IOException {
        String save =
                "distill --teacher TALE --save-teacher OUT --data SHORT --top-k 16 --length 64";
        aWriterKeepsTheCapOrSaysTheLeastThatWorks(save);
        planned(save);
        assertThat(run(save, "cache", null).exit()).isEqualTo(0);
        String learn =
                "distill TALE -o OUT --teacher-cache %s --steps 2 --batch 2"
                        .formatted(dir.resolve("cache"));
        Files.move(dir.resolve("tight"), dir.resolve("saved-tight"));
        Files.move(dir.resolve("free"), dir.resolve("saved-free"));
        aWriterKeepsTheCapOrSaysTheLeastThatWorks(learn);
        planned(learn);
    }

    /// A dry run says what a run takes, and under a cap that is too little what the run would say.
    private void planned(String command) {
        assertThat(run(command + " --dry-run", "none", null).out())
                .contains("memory", "outside the Java heap");
        assertThat(least(run(command + " --dry-run", "none", "1")))
                .isEqualTo(least(run(command, "none", "1")));
    }

    @Test
    void aRecipeSaysWhatEachStepTakes() throws IOException {
        Path recipe = dir.resolve("recipe.yaml");
        Files.writeString(
                recipe,
                """
                model: %s
                output: %s
                steps:
                  - evaluate: {data: %3$s, window: 64, maxWindows: 2}
                  - sweep:
                      - rtn: {groupSize: 64}
                  - evaluate: {data: %3$s, window: 64, maxWindows: 2}
                """
                        .formatted(Cli.TALE_LLAMA, dir.resolve("out"), CALIBRATION));
        String command = "run " + recipe + " --dry-run";
        Cli plan = run(command, "none", null);
        assertThat(plan.out().lines())
                .describedAs(plan.err())
                .filteredOn(line -> line.endsWith("outside the Java heap"))
                .satisfiesExactly(
                        sizes -> assertThat(sizes).startsWith("memory"),
                        one -> assertThat(one).contains("1", "evaluate", "about"),
                        two -> assertThat(two).contains("2", "rtn", "about"),
                        three -> assertThat(three).contains("3", "evaluate", "about"));
        int least = least(run(command, "none", "1M"));
        assertThat(run(command, "none", least - 1 + "M").exit()).isEqualTo(1);
        assertThat(dir.resolve("out")).doesNotExist();
    }

    @ParameterizedTest
    @ValueSource(
            strings = {
                "quantize TALE -o OUT --method rtn --group-size 64",
                "quantize TALE -o OUT --method rtn --group-size 64 --layout gptq",
                "quantize TALE -o OUT --method rtn --group-size 64 --layout dense",
                "quantize tiny-gpt2 -o OUT --method rtn --group-size 16 --layout gptq",
                "quantize tiny-gemma3_text -o OUT --method rtn --group-size 16",
                "quantize tiny-mixtral -o OUT --method rtn --group-size 16",
                "quantize TALE -o OUT --group-size 64 --calib-data TEXT --calib-samples 40"
                        + " --calib-length 64",
                "prune TALE -o OUT --method magnitude --sparsity 0.5",
                "prune TALE -o OUT --method wanda --sparsity 0.5 --calib-data TEXT --calib-samples"
                        + " 40 --calib-length 64",
                "prune TALE -o OUT --method wanda --sparsity 0.5 --allocation owl --calib-data TEXT"
                        + " --calib-samples 40 --calib-length 64",
                "prune TALE -o OUT --method sparsegpt --sparsity 0.5 --calib-data TEXT"
                        + " --calib-samples 40 --calib-length 64",
                "prune TALE -o OUT --method layers --drop 1 --calib-data TEXT --calib-samples 40"
                        + " --calib-length 64",
                "prune TALE -o OUT --method width --ffn 0.75 --heads 0.5 --calib-data TEXT"
                        + " --calib-samples 40 --calib-length 64",
                "prune TALE -o OUT --method slice --hidden 224 --calib-data TEXT --calib-samples 40"
                        + " --calib-length 64",
                "prune TALE -o OUT --method kv-heads --to 1",
            })
    void aWriterKeepsTheCapOrSaysTheLeastThatWorks(String command) throws IOException {
        int least = least(run(command, "tight", "1"));
        assertThat(least(run(command, "tight", least * 1048576L - 1 + ""))).isEqualTo(least);
        assertThat(dir.resolve("tight")).doesNotExist();
        Cli tight = run(command, "tight", least + "M");
        assertThat(tight.exit()).describedAs(tight.err()).isEqualTo(0);
        assertThat(run(command, "free", null).exit()).isEqualTo(0);
        assertThat(files("tight")).containsExactlyEntriesOf(files("free"));
    }

    /// An embedding that outweighs all blocks is in memory once, also while the output is read
    /// back.
    @Test
    void aLargeVocabularyCountsOnce() throws IOException {
        Path model = Files.createDirectory(dir.resolve("large"));
        long rows = 1 << 16;
        try (Checkpoint c = Checkpoint.open(Cli.TALE_LLAMA);
                TensorReader reader = c.reader();
                Arena memory = Arena.ofShared()) {
            List<TensorInfo> infos = new ArrayList<>();
            for (String name : c.names()) {
                TensorInfo t = c.info(name);
                infos.add(
                        isEmbedding(name)
                                ? TensorInfo.of(name, t.dtype(), rows, t.shape().dim(1))
                                : t);
            }
            try (CheckpointWriter writer =
                    CheckpointWriter.create(model, infos, Long.MAX_VALUE, false)) {
                for (TensorInfo t : infos) {
                    writer.write(
                            t.name(),
                            isEmbedding(t.name())
                                    ? Tensor.of(
                                            memory.allocate(t.byteSize(), 64),
                                            t.dtype(),
                                            t.shape().dims())
                                    : reader.tensor(t.name()));
                }
                writer.finish();
            }
            c.config().with("vocab_size", (int) rows).write(model.resolve("config.json"));
        }
        aWriterKeepsTheCapOrSaysTheLeastThatWorks(
                "quantize %s -o OUT --method rtn --group-size 64".formatted(model));
    }

    private static boolean isEmbedding(String name) {
        return name.equals("model.embed_tokens.weight");
    }
}
