// SPDX-License-Identifier: Apache-2.0
package io.llmc.model;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import com.google.errorprone.annotations.MustBeClosed;
import io.llmc.backend.Backend;
import io.llmc.backend.BackendOptions;
import io.llmc.backend.ForwardOp;
import io.llmc.backend.TensorArena;
import io.llmc.backend.cpu.CpuBackend;
import io.llmc.formats.HfConfig;
import io.llmc.formats.TensorInfo;
import io.llmc.formats.TestFiles;
import io.llmc.formats.checkpoint.Checkpoint;
import io.llmc.formats.checkpoint.TensorReader;
import io.llmc.model.arch.Architectures;
import io.llmc.model.language.LanguageModel;
import io.llmc.pipeline.pass.HiddenStates;
import io.llmc.pipeline.rotation.RotatedModel;
import io.llmc.pipeline.rotation.Untied;
import io.llmc.tensor.DType;
import io.llmc.tensor.Shape;
import io.llmc.tensor.Tensor;
import io.llmc.tokenizer.Windows;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.SequencedMap;
import java.util.Set;
import java.util.function.BiFunction;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/// Every architecture against the logits that transformers computed for the same tiny checkpoint.
class GoldenTest {
    /// As the oracles' README says: a looser bound than 5e-4 misses mistakes, 1e-4 is fair.
    private static final double BOUND = 1e-4;

    /// Of weights that have been turned and rounded once more: a delta rule's outputs may be small
    /// against their terms, and are normalised. What is turned wrongly moves logits by tenths.
    private static final double TURNED_BOUND = 1e-3;

    @TempDir Path temp;

    static Stream<Path> checkpoints() {
        return Stream.concat(
                TestFiles.directories(TestFiles.testdata(), "tiny-"),
                TestFiles.directories(TestFiles.shared("oracles/architectures"), ""));
    }

    @ParameterizedTest
    @MethodSource("checkpoints")
    void logitsAgree(Path directory) throws IOException {
        for (BackendOptions.Math math :
                List.of(BackendOptions.Math.PORTABLE, BackendOptions.Math.AUTO)) {
            check(directory, math);
        }
    }

    /// Stream and values turned: other weights, the same function. Where the stream cannot turn,
    /// the values do.
    @ParameterizedTest
    @MethodSource("checkpoints")
    void turnedModelsAgree(Path directory) throws IOException {
        check(directory, BackendOptions.Math.PORTABLE, GoldenTest::turned, TURNED_BOUND);
    }

    private static Checkpoint turned(Checkpoint c, Backend backend) {
        Checkpoint source = Untied.of(wide(c, backend));
        ModelSpec spec = Architectures.specOf(source);
        boolean turns = RotatedModel.obstacle(spec) == null;
        RotatedModel rotated =
                new RotatedModel(
                        backend,
                        source,
                        turns ? RotatedModel.stream(spec, 1) : null,
                        RotatedModel.heads(spec, 1));
        return source.derived(source.config(), rotated.infos(), rotated);
    }

    /// In F32, so that turned weights are not rounded.
    private static Checkpoint wide(Checkpoint c, Backend backend) {
        SequencedMap<String, TensorInfo> infos = new LinkedHashMap<>();
        for (String name : c.names()) {
            TensorInfo info = c.info(name);
            DType type = info.dtype().isFloat() ? DType.F32 : info.dtype();
            infos.put(name, TensorInfo.of(name, type, info.shape().dims()));
        }
        return c.derived(
                c.config(),
                infos,
                (name, base, memory) -> {
                    Tensor x = base.tensor(name);
                    if (!x.dtype().isFloat()) {
                        return x;
                    }
                    Tensor y =
                            Tensor.of(
                                    memory.allocate(4 * x.shape().size(), 64),
                                    DType.F32,
                                    x.shape().dims());
                    backend.run(new ForwardOp.Scale(y, x, 1));
                    return y;
                });
    }

    /// The same model with the other spellings of its config.json.
    @ParameterizedTest
    @MethodSource("checkpoints")
    void logitsAgreeUnderOtherConfigSpellings(Path directory) throws IOException {
        for (String spelling : List.of("config.v5.json", "config.su.json")) {
            Path config = directory.resolve(spelling);
            if (!Files.exists(config)) {
                continue;
            }
            Path copy = Files.createDirectory(temp.resolve(spelling));
            try (Stream<Path> files = Files.list(directory)) {
                for (Path file : files.filter(f -> f.toString().contains("model")).toList()) {
                    Files.copy(file, copy.resolve(file.getFileName()));
                }
            }
            Files.copy(config, copy.resolve("config.json"));
            Files.copy(directory.resolve("golden.safetensors"), copy.resolve("golden.safetensors"));
            check(copy, BackendOptions.Math.PORTABLE);
        }
    }

    /// Some writers keep a tied matrix under the head's name: the same logits.
    @Test
    void aTiedMatrixMayHaveTheHeadsName() throws IOException {
        Path source = TestFiles.testdata().resolve("tiny-qwen3");
        byte[] bytes = Files.readAllBytes(source.resolve("model.safetensors"));
        String header = new String(bytes, 8, 4000, java.nio.charset.StandardCharsets.ISO_8859_1);
        int at = 8 + header.indexOf("\"model.embed_tokens.weight\"");
        byte[] name =
                "\"lm_head.weight\"           "
                        .getBytes(java.nio.charset.StandardCharsets.US_ASCII);
        System.arraycopy(name, 0, bytes, at, "\"model.embed_tokens.weight\"".length());
        Path copy = Files.createDirectory(temp.resolve("head-name"));
        Files.write(copy.resolve("model.safetensors"), bytes);
        Files.copy(source.resolve("config.json"), copy.resolve("config.json"));
        Files.copy(source.resolve("golden.safetensors"), copy.resolve("golden.safetensors"));
        check(copy, BackendOptions.Math.PORTABLE);
    }

    @Test
    void everyArchitectureHasATinyCheckpoint() {
        Path oracles = TestFiles.shared("oracles/architectures");
        assumeTrue(Files.exists(oracles), "no ../shared: its goldens are skipped");
        Set<String> have =
                Stream.concat(
                                TestFiles.directories(TestFiles.testdata(), "tiny-"),
                                TestFiles.directories(oracles, ""))
                        .map(d -> HfConfig.read(d.resolve("config.json")).text().modelType())
                        .collect(Collectors.toSet());
        for (Architecture a : Architectures.ALL) {
            assertThat(have)
                    .as("golden logits for %s", a.modelTypes())
                    .containsAnyElementsOf(a.modelTypes());
        }
    }

    private void check(Path directory, BackendOptions.Math math) throws IOException {
        check(directory, math, (c, _) -> c, BOUND);
    }

    private void check(
            Path directory,
            BackendOptions.Math math,
            BiFunction<Checkpoint, Backend, Checkpoint> view,
            double bound)
            throws IOException {
        // The golden file is read through a directory of its own, as the only weights there.
        Path golden = Files.createDirectories(temp.resolve("golden-" + directory.getFileName()));
        Files.writeString(golden.resolve("config.json"), "{\"model_type\": \"golden\"}");
        Path file = golden.resolve("model.safetensors");
        Files.deleteIfExists(file);
        Files.copy(directory.resolve("golden.safetensors"), file);
        try (Checkpoint c = Checkpoint.open(directory);
                Checkpoint g = Checkpoint.open(golden);
                TensorReader expected = g.reader();
                Backend backend = new CpuBackend(new BackendOptions(2, math));
                LanguageModel model = model(view.apply(c, backend), backend)) {
            Tensor ids = expected.tensor("input_ids");
            float[] want = expected.tensor("logits").bytes().toArray(LE_FLOAT);
            float[] got = logits(model, windows(ids));
            double worst = 0;
            for (int i = 0; i < want.length; i++) {
                worst = Math.max(worst, Math.abs(want[i] - got[i]));
            }
            assertThat(got).hasSameSizeAs(want);
            assertThat(worst).as("%s with %s", directory.getFileName(), math).isLessThan(bound);
        }
    }

    @MustBeClosed
    private static LanguageModel model(Checkpoint c, Backend backend) {
        return new LanguageModel(c, Architectures.specOf(c), backend);
    }

    private static final ValueLayout.OfFloat LE_FLOAT =
            ValueLayout.JAVA_FLOAT_UNALIGNED.withOrder(java.nio.ByteOrder.LITTLE_ENDIAN);

    private static Windows windows(Tensor ids) {
        int count = (int) ids.rows();
        int length = (int) ids.cols();
        int[] values = new int[count * length];
        for (int i = 0; i < values.length; i++) {
            values[i] = (int) ids.bytes().get(ValueLayout.JAVA_LONG_UNALIGNED, 8L * i);
        }
        return Windows.of(values, length);
    }

    private static float[] logits(LanguageModel model, Windows windows) {
        try (HiddenStates states = new HiddenStates(model, windows, null)) {
            states.embed();
            for (int i = 0; i < model.spec().layers().size(); i++) {
                states.advance(i);
            }
            float[][] result = new float[1][];
            states.forEach((x, _) -> result[0] = head(model, states, x));
            return result[0];
        }
    }

    private static float[] head(LanguageModel model, HiddenStates states, Tensor x) {
        Backend backend = model.backend();
        try (TensorArena arena = backend.newArena(1 << 22);
                Arena host = Arena.ofConfined()) {
            Forward f = new Forward(backend, arena, states.positions());
            Tensor normed =
                    arena.allocate(DType.F32, new Shape(x.rows(), model.spec().input().width()));
            Tensor logits =
                    arena.allocate(DType.F32, new Shape(x.rows(), model.spec().vocabulary()));
            model.finalNorm(f, normed, x);
            model.logits(f, logits, normed);
            MemorySegment copy = host.allocate(logits.byteSize(), 8);
            backend.download(copy, logits);
            return copy.toArray(ValueLayout.JAVA_FLOAT);
        }
    }
}
