// SPDX-License-Identifier: Apache-2.0
package io.llmc.cli;

import static org.assertj.core.api.Assertions.assertThat;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import io.llmc.formats.TensorInfo;
import io.llmc.formats.checkpoint.Checkpoint;
import io.llmc.formats.checkpoint.TensorReader;
import io.llmc.formats.safetensors.CheckpointWriter;
import io.llmc.tensor.Floats;
import io.llmc.tensor.Tensor;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/// Models with one tokenizer whose tables have rows that no token has: what lies in those rows,
/// here what would win every softmax, changes no figure and no weight.
@Tag("long")
class PaddedVocabularyIT {
    private static final int TOKENS = 1024;
    private static final int ROWS = 1088;
    private static final Path TALE = Cli.TALE_LLAMA;
    private static final Path TEXT = TALE.resolve("calibration.txt");

    @TempDir private Path dir;
    private Path padded;

    @BeforeEach
    void pad() throws IOException {
        padded = dir.resolve("padded");
        pad(TALE, padded);
    }

    private static void pad(Path source, Path target) throws IOException {
        Files.createDirectories(target);
        try (Checkpoint c = Checkpoint.open(source);
                TensorReader reader = c.reader();
                Arena memory = Arena.ofShared()) {
            List<Tensor> tensors = new ArrayList<>();
            List<TensorInfo> infos = new ArrayList<>();
            for (String name : c.names()) {
                Tensor t = reader.tensor(name);
                if (t.shape().rank() == 2 && t.rows() == TOKENS && t.cols() == 256) {
                    t = name.contains("embed") || name.contains("head") ? longer(t, memory) : t;
                }
                tensors.add(t);
                infos.add(new TensorInfo(name, t.dtype(), t.shape()));
            }
            try (CheckpointWriter writer =
                    CheckpointWriter.create(target, infos, Long.MAX_VALUE, false)) {
                for (int i = 0; i < infos.size(); i++) {
                    writer.write(infos.get(i).name(), tensors.get(i));
                }
                writer.finish();
            }
            c.config()
                    .with("vocab_size", com.fasterxml.jackson.databind.node.IntNode.valueOf(ROWS))
                    .write(target.resolve("config.json"));
            for (Path file : c.sideFiles()) {
                Files.copy(file, target.resolve(file.getFileName()));
            }
        }
    }

    private static Tensor longer(Tensor t, Arena memory) {
        MemorySegment bytes = memory.allocate(t.dtype().bytesFor(ROWS * t.cols()), 64);
        bytes.asSlice(0, t.byteSize()).copyFrom(t.bytes());
        for (long i = t.shape().size(); i < ROWS * t.cols(); i++) {
            Floats.set(bytes, t.dtype(), i, (float) (8 * Math.sin(i)));
        }
        return Tensor.of(bytes, t.dtype(), ROWS, t.cols());
    }

    private static Cli done(Object... args) {
        List<Object> words = new ArrayList<>(List.of(args));
        words.addAll(List.of("--device", "cpu", "--threads", "2"));
        Cli cli = Cli.run(words.toArray());
        assertThat(cli.exit()).describedAs(cli.err()).isEqualTo(0);
        return cli;
    }

    private JsonNode eval(Path model, Path against) throws IOException {
        Path json = dir.resolve("eval.json");
        Cli cli =
                done(
                        "eval",
                        model,
                        "--against",
                        against,
                        "--data",
                        TALE.resolve("test.txt"),
                        "--window",
                        "64",
                        "--max-windows",
                        "6",
                        "--json",
                        json);
        boolean differ = model.equals(padded) != against.equals(padded);
        assertThat(cli.err().contains("padding")).isEqualTo(differ);
        return new ObjectMapper().readTree(json.toFile());
    }

    @Test
    void figuresAreThoseOfTheCommonTokens() throws IOException {
        Path rounded = dir.resolve("rounded");
        done(
                "quantize",
                TALE,
                "-o",
                rounded,
                "--method",
                "rtn",
                "--bits",
                "3",
                "--group-size",
                "64");
        JsonNode plain = eval(rounded, TALE);
        JsonNode larger = eval(rounded, padded);
        JsonNode turned = eval(TALE, padded);
        for (String key :
                List.of(
                        "perplexity",
                        "original_perplexity",
                        "perplexity_ratio",
                        "kld_mean",
                        "kld_max",
                        "top1_agreement")) {
            assertThat(larger.path(key)).describedAs(key).isEqualTo(plain.path(key));
        }
        assertThat(turned.path("kld_max").asDouble()).isZero();
        assertThat(eval(padded, TALE).path("perplexity")).isEqualTo(turned.path("perplexity"));
    }

    private Path distill(String output, Path student, Object... more) {
        List<Object> args = new ArrayList<>(List.of("distill", student, "-o", dir.resolve(output)));
        args.addAll(List.of(more));
        args.addAll(List.of("--steps", "2", "--batch", "2", "--length", "32", "--lr", "1e-3"));
        Cli cli = done(args.toArray());
        assertThat(cli.err()).contains("padding").contains("1,088");
        return dir.resolve(output);
    }

    private static Path plain(Path out, Path student, Object... more) {
        List<Object> args = new ArrayList<>(List.of("distill", student, "-o", out));
        args.addAll(List.of(more));
        args.addAll(List.of("--steps", "2", "--batch", "2", "--length", "32", "--lr", "1e-3"));
        assertThat(done(args.toArray()).err()).doesNotContain("padding");
        return out;
    }

    /// Every tensor of both is the same, but for rows that only one has: those are `rest`'s.
    private static void assertSame(Path a, Path b, Path rest) throws IOException {
        try (Checkpoint x = Checkpoint.open(a);
                Checkpoint y = Checkpoint.open(b);
                Checkpoint z = Checkpoint.open(rest);
                TensorReader mine = x.reader();
                TensorReader theirs = y.reader();
                TensorReader untouched = z.reader()) {
            assertThat(x.names()).isEqualTo(y.names());
            for (String name : x.names()) {
                MemorySegment m = mine.tensor(name).bytes();
                MemorySegment t = theirs.tensor(name).bytes();
                long common = Math.min(m.byteSize(), t.byteSize());
                assertThat(m.asSlice(0, common).mismatch(t.asSlice(0, common)))
                        .describedAs(name)
                        .isEqualTo(-1);
                if (m.byteSize() > common) {
                    MemorySegment old = untouched.tensor(name).bytes();
                    assertThat(m.asSlice(common).mismatch(old.asSlice(common)))
                            .describedAs(name)
                            .isEqualTo(-1);
                }
            }
        }
    }

    @ParameterizedTest
    @ValueSource(
            strings = {
                "--kl 1 --ce 0.5 --jsd 1 --lora 4",
                "--kl 0 --reverse-kl 1 --hidden 1",
                "--blockwise"
            })
    void studentsLearnTheCommonTokens(String losses) throws IOException {
        Path thin = dir.resolve("thin");
        done("prune", TALE, "-o", thin, "--method", "magnitude", "--sparsity", "0.6");
        Path wide = dir.resolve("wide");
        pad(thin, wide);
        Object[] words =
                Arrays.copyOf(losses.split(" ", -1), losses.split(" ", -1).length, Object[].class);
        List<Object> asked = new ArrayList<>(Arrays.asList(words));
        asked.addAll(List.of("--data", TEXT, "--teacher", TALE));
        Path expected = plain(dir.resolve("expected"), thin, asked.toArray());
        Path smaller = distill("larger-student", wide, asked.toArray());
        assertSame(smaller, expected, wide);
        asked.set(asked.size() - 1, padded);
        assertSame(distill("larger-teacher", thin, asked.toArray()), expected, thin);
    }

    @Test
    void aCacheOfMoreTokensTeachesTheCommonOnes() throws IOException {
        Path thin = dir.resolve("thin");
        done("prune", TALE, "-o", thin, "--method", "magnitude", "--sparsity", "0.6");
        Path wide = dir.resolve("wide");
        pad(thin, wide);
        Path cache = dir.resolve("cache");
        Path text =
                Files.writeString(
                        dir.resolve("text.txt"), Files.readString(TEXT).substring(0, 12_000));
        done(
                "distill",
                "--save-teacher",
                cache,
                "--teacher",
                TALE,
                "--data",
                text,
                "--length",
                "32");
        Path expected = plain(dir.resolve("expected"), thin, "--teacher-cache", cache);
        assertSame(distill("larger", wide, "--teacher-cache", cache), expected, wide);
        // All tokens are kept, padding too: what is left is the teacher's own softmax once more.
        Path all = dir.resolve("all");
        done(
                "distill",
                "--save-teacher",
                all,
                "--teacher",
                padded,
                "--data",
                text,
                "--length",
                "32",
                "--top-k",
                ROWS);
        distill("from-all", thin, "--teacher-cache", all);
    }

    @Test
    void moreThanPaddingIsRefused() throws IOException {
        Path tokenizer = padded.resolve("tokenizer.json");
        String text = Files.readString(tokenizer);
        for (Path other : List.of(padded, TALE)) {
            Files.writeString(
                    tokenizer,
                    text.replaceFirst("\"vocab\"\\s*:\\s*\\{", "\"vocab\": {\"zzzz\": 1050, "));
            Path student = other.equals(padded) ? TALE : padded;
            Cli cli =
                    Cli.run(
                            "distill",
                            student,
                            "-o",
                            dir.resolve("out"),
                            "--teacher",
                            other,
                            "--data",
                            TEXT,
                            "--steps",
                            "1",
                            "--batch",
                            "1",
                            "--length",
                            "32");
            assertThat(cli.exit()).isEqualTo(1);
            assertThat(cli.err()).contains("1050").contains("zzzz");
            assertThat(dir.resolve("out")).doesNotExist();
            Cli eval =
                    Cli.run(
                            "eval",
                            student,
                            "--against",
                            other,
                            "--data",
                            TALE.resolve("test.txt"));
            assertThat(eval.exit()).isEqualTo(1);
            assertThat(eval.err()).contains("differ by more than padding").contains("zzzz");
        }
    }
}
