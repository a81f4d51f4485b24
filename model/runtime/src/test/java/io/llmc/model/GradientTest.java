// SPDX-License-Identifier: Apache-2.0
package io.llmc.model;

import static org.assertj.core.api.Assertions.assertThat;

import io.llmc.backend.Backend;
import io.llmc.backend.BackendOptions;
import io.llmc.backend.TensorArena;
import io.llmc.backend.cpu.CpuBackend;
import io.llmc.formats.TensorInfo;
import io.llmc.formats.TestFiles;
import io.llmc.formats.checkpoint.Checkpoint;
import io.llmc.formats.checkpoint.TensorReader;
import io.llmc.model.arch.Architectures;
import io.llmc.model.language.LanguageModel;
import io.llmc.model.language.Transpose;
import io.llmc.tensor.DType;
import io.llmc.tensor.Shape;
import io.llmc.tensor.Tensor;
import io.llmc.tensor.Weight;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.SequencedMap;
import java.util.stream.Stream;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/// Gradients of every parameter against those that PyTorch computed for the same tiny checkpoint:
/// the mean cross entropy of the next token.
class GradientTest {
    /// As the oracles' README says: a fair bound where the largest gradient is about 1.
    private static final double BOUND = 1e-5;

    @TempDir Path temp;

    static Stream<Path> checkpoints() {
        return Stream.concat(
                        TestFiles.directories(TestFiles.testdata(), "tiny-"),
                        TestFiles.directories(TestFiles.shared("oracles/architectures"), ""))
                .filter(d -> Files.exists(d.resolve("gradients.safetensors")));
    }

    @ParameterizedTest
    @MethodSource("checkpoints")
    void everyGradientAgrees(Path directory) throws IOException {
        try (Checkpoint c = Checkpoint.open(directory);
                Checkpoint golden = single(directory, "golden");
                Checkpoint expected = single(directory, "gradients");
                TensorReader goldens = golden.reader();
                TensorReader gradients = expected.reader();
                Backend backend = new CpuBackend(BackendOptions.defaults());
                TensorArena arena = backend.newArena(1L << 28)) {
            Checkpoint wide = inF32(c);
            ModelSpec spec = Architectures.specOf(wide);
            try (LanguageModel model = new LanguageModel(wide, spec, backend);
                    TensorReader reader = wide.reader()) {
                Map<String, Tensor> parameters = new LinkedHashMap<>(model.parameters());
                List<DecoderBlock> blocks = new ArrayList<>();
                for (int i = 0; i < spec.layers().size(); i++) {
                    DecoderBlock block = model.block(i, reader, arena);
                    blocks.add(block);
                    parameters.putAll(block.parameters());
                    for (Linear linear : block.linears()) {
                        parameters.put(
                                linear.name() + ".weight",
                                ((Weight.Dense) linear.weight()).values());
                    }
                }
                Tape tape = new Tape(backend, arena, parameters.values());
                double loss = run(model, blocks, tape, backend, goldens.tensor("input_ids"));
                assertThat(loss)
                        .isCloseTo(
                                gradients
                                        .tensor("loss")
                                        .bytes()
                                        .get(ValueLayout.JAVA_FLOAT_UNALIGNED, 0),
                                org.assertj.core.data.Offset.offset(1e-5));
                int compared = 0;
                for (String name : expected.names()) {
                    if (name.equals("loss")) {
                        continue;
                    }
                    assertThat(parameters).containsKey(name);
                    Tensor got = tape.gradient(parameters.get(name));
                    Tensor want = gradients.tensor(name);
                    try (Arena memory = Arena.ofConfined()) {
                        boolean turned =
                                want.shape().rank() == 2
                                        && spec.inOutLinears()
                                        && parameters.get(name).shape().dim(0)
                                                == want.shape().dim(1)
                                        && blocks.stream()
                                                .anyMatch(b ->
                                                        b.linears().stream()
                                                                .anyMatch(l ->
                                                                        name.equals(
                                                                                l.name()
                                                                                        + ".weight")));
                        Tensor mine = turned ? Transpose.of(got, memory) : got;
                        assertThat(worst(want, mine)).as(name).isLessThan(BOUND);
                    }
                    compared++;
                }
                assertThat(compared).isGreaterThan(10);
            }
        }
    }

    /// @return the loss
    private static double run(
            LanguageModel model,
            List<DecoderBlock> blocks,
            Tape tape,
            Backend backend,
            Tensor ids) {
        int length = (int) ids.cols();
        int rows = (int) ids.shape().size();
        int vocabulary = model.spec().vocabulary();
        try (Arena host = Arena.ofConfined();
                TensorArena tables =
                        backend.newArena(Positions.bytes(model.spec(), length) + 4096)) {
            MemorySegment tokens = host.allocate(4L * rows, 8);
            for (int i = 0; i < rows; i++) {
                long id = ids.bytes().get(ValueLayout.JAVA_LONG_UNALIGNED, 8L * i);
                tokens.setAtIndex(ValueLayout.JAVA_INT, i, (int) id);
            }
            Positions positions = Positions.of(model.spec(), length, backend, tables);
            Forward f = new Forward(backend, tape, tape.kept(), positions, Tap.NONE, false);
            Tensor x = model.embed(f, tokens);
            for (DecoderBlock block : blocks) {
                x = block.forward(f, x);
            }
            Tensor normed = tape.kept().allocate(DType.F32, x.shape());
            model.finalNorm(f, normed, x);
            Tensor logits = tape.kept().allocate(DType.F32, new Shape(rows, vocabulary));
            model.logits(f, logits, normed);
            Tensor d = tape.gradient(logits);
            double loss = 0;
            int count = rows - rows / length;
            for (int t = 0; t < rows; t++) {
                if (t % length == length - 1) {
                    continue;
                }
                loss += row(logits, d, t, tokens.getAtIndex(ValueLayout.JAVA_INT, t + 1), count);
            }
            tape.backward();
            return loss / count;
        }
    }

    /// Cross entropy of one row, its gradient to d.
    private static double row(Tensor logits, Tensor d, long t, int target, int count) {
        int n = (int) logits.cols();
        MemorySegment x = logits.bytes();
        double max = Double.NEGATIVE_INFINITY;
        for (int v = 0; v < n; v++) {
            max = Math.max(max, x.getAtIndex(ValueLayout.JAVA_FLOAT, t * n + v));
        }
        double sum = 0;
        for (int v = 0; v < n; v++) {
            sum += Math.exp(x.getAtIndex(ValueLayout.JAVA_FLOAT, t * n + v) - max);
        }
        for (int v = 0; v < n; v++) {
            double p = Math.exp(x.getAtIndex(ValueLayout.JAVA_FLOAT, t * n + v) - max) / sum;
            double g = (p - (v == target ? 1 : 0)) / count;
            d.bytes().setAtIndex(ValueLayout.JAVA_FLOAT, t * n + v, (float) g);
        }
        return Math.log(sum) + max - x.getAtIndex(ValueLayout.JAVA_FLOAT, t * n + target);
    }

    private static double worst(Tensor want, Tensor got) {
        assertThat(got.shape()).isEqualTo(want.shape());
        double worst = 0;
        for (long i = 0; i < want.shape().size(); i++) {
            float a = want.bytes().get(ValueLayout.JAVA_FLOAT_UNALIGNED, 4 * i);
            float b = got.bytes().get(ValueLayout.JAVA_FLOAT_UNALIGNED, 4 * i);
            worst = Math.max(worst, Math.abs(a - b));
        }
        return worst;
    }

    private Checkpoint single(Path directory, String file) throws IOException {
        Path copy = Files.createDirectories(temp.resolve(file));
        Files.writeString(copy.resolve("config.json"), "{\"model_type\": \"golden\"}");
        Files.copy(directory.resolve(file + ".safetensors"), copy.resolve("model.safetensors"));
        return Checkpoint.open(copy);
    }

    private static Checkpoint inF32(Checkpoint c) {
        SequencedMap<String, TensorInfo> infos = new LinkedHashMap<>();
        for (String name : c.names()) {
            TensorInfo info = c.info(name);
            DType type = info.dtype().isFloat() ? DType.F32 : info.dtype();
            infos.put(name, new TensorInfo(name, type, info.shape()));
        }
        return c.derived(
                c.config(),
                infos,
                (name, base, memory) -> {
                    Tensor t = base.tensor(name);
                    if (!t.dtype().isFloat()) {
                        return t;
                    }
                    MemorySegment values = memory.allocate(4 * t.shape().size(), 64);
                    Tensor wide = Tensor.of(values, DType.F32, t.shape().dims());
                    try (Backend backend = new CpuBackend(BackendOptions.defaults())) {
                        backend.run(new io.llmc.backend.ForwardOp.Scale(wide, t, 1));
                    }
                    return wide;
                });
    }
}
