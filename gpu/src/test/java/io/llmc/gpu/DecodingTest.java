// SPDX-License-Identifier: Apache-2.0
package io.llmc.gpu;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import io.llmc.backend.Backend;
import io.llmc.backend.BackendOptions;
import io.llmc.backend.cpu.CpuBackend;
import io.llmc.formats.RopeScaling;
import io.llmc.formats.TestFiles;
import io.llmc.formats.checkpoint.Checkpoint;
import io.llmc.formats.checkpoint.TensorReader;
import io.llmc.model.LatentAttentionSpec;
import io.llmc.model.LayerSpec;
import io.llmc.model.ModelSpec;
import io.llmc.model.arch.Architectures;
import io.llmc.model.decoding.CacheSettings;
import io.llmc.model.decoding.Decoder;
import io.llmc.model.decoding.Sequence;
import io.llmc.tensor.DType;
import io.llmc.tensor.Tensor;
import java.lang.foreign.ValueLayout;
import java.nio.ByteOrder;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.stream.Stream;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.MethodSource;

/// Decoding with a cache on the stand-in driver.
@Tag("long")
class DecodingTest {
    /// Goldens are of F32 themselves: a norm behind a recurrence makes small differences large, and
    /// where the recurrence is in F64 they are no smaller.
    private static final double BOUND = 2e-4;

    private static final Path QWEN = TestFiles.testdata().resolve("tiny-qwen3");
    private static final ValueLayout.OfFloat FLOAT =
            ValueLayout.JAVA_FLOAT_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);

    @BeforeAll
    static void standIn() {
        var problem = StandIn.install();
        assumeTrue(problem.isEmpty(), problem.orElse(""));
    }

    static Stream<Path> models() {
        return Stream.concat(
                        TestFiles.directories(TestFiles.testdata(), "tiny-"),
                        TestFiles.directories(TestFiles.shared("oracles/architectures"), ""))
                .filter(DecodingTest::isKnown);
    }

    /// And has angles that stay as they are while a sequence grows.
    private static boolean isKnown(Path directory) {
        try (Checkpoint c = Checkpoint.open(directory)) {
            return Architectures.ALL.stream()
                            .anyMatch(a -> a.modelTypes().contains(c.config().modelType()))
                    && Architectures.specOf(c).layers().stream()
                            .flatMap(LayerSpec::bodies)
                            .flatMap(body -> body.ropes().stream())
                            .noneMatch(r ->
                                    r.config().scaling() instanceof RopeScaling.Dynamic
                                            || r.config().scaling()
                                                    instanceof RopeScaling.LongRope);
        }
    }

    /// A prompt that is many rows, then one or a few at a time.
    @ParameterizedTest
    @MethodSource("models")
    void logitsAreThoseOfWholeSequences(Path directory) {
        try (Checkpoint c = Checkpoint.open(directory);
                Checkpoint golden = Checkpoint.ofFile(directory.resolve("golden.safetensors"));
                TensorReader expected = golden.reader();
                Backend gpu = new CudaBackend(0, BackendOptions.defaults());
                Backend cpu = new CpuBackend(BackendOptions.defaults())) {
            int[][] ids = ids(expected.tensor("input_ids"));
            float[] want =
                    choosesAmongEqual(Architectures.specOf(c))
                            ? decoded(c, cpu, ids, DType.F32)
                            : expected.tensor("logits").bytes().toArray(FLOAT);
            assertThat(worst(want, decoded(c, gpu, ids, DType.F32))).isLessThan(BOUND);
        }
    }

    /// Single keys score zero, all alike, where none of a small model's heads counts: which of them
    /// are chosen depends on those behind, that only whole sequences have.
    private static boolean choosesAmongEqual(ModelSpec spec) {
        return spec.layers().stream()
                .flatMap(LayerSpec::bodies)
                .anyMatch(body ->
                        body instanceof LatentAttentionSpec latent
                                && latent.indexer() != null
                                && !latent.indexer().choice().pooled());
    }

    /// What rounds is the same on both devices, but where a number lies between two codes: far less
    /// than rounding itself.
    @ParameterizedTest
    @EnumSource(names = {"F16", "BF16", "I8", "F8_E4M3"})
    void roundedPagesGiveWhatTheyGiveOnTheCpu(DType type) {
        try (Checkpoint c = Checkpoint.open(QWEN);
                Checkpoint golden = Checkpoint.ofFile(QWEN.resolve("golden.safetensors"));
                TensorReader expected = golden.reader();
                Backend gpu = new CudaBackend(0, BackendOptions.defaults());
                Backend cpu = new CpuBackend(BackendOptions.defaults())) {
            int[][] ids = ids(expected.tensor("input_ids"));
            float[] exact = decoded(c, cpu, ids, DType.F32);
            float[] want = decoded(c, cpu, ids, type);
            assertThat(squares(want, decoded(c, gpu, ids, type)))
                    .isLessThan(squares(exact, want) / 10);
        }
    }

    private static int[][] ids(Tensor t) {
        int[][] all = new int[(int) t.rows()][(int) t.cols()];
        for (int i = 0; i < t.shape().size(); i++) {
            all[i / all[0].length][i % all[0].length] =
                    (int) t.bytes().get(ValueLayout.JAVA_LONG_UNALIGNED, 8L * i);
        }
        return all;
    }

    /// Logits of all sequences side by side.
    @SuppressWarnings("MustBeClosed") // closed at the end
    private static float[] decoded(Checkpoint c, Backend backend, int[][] ids, DType type) {
        ModelSpec spec = Architectures.specOf(c);
        int length = ids[0].length;
        int[] parts = {Math.min(11, length), 5, 1, 1, 7, 1};
        var settings =
                new CacheSettings(
                        (long) ids.length * length, ids.length, ids.length * parts[0], type, 0);
        float[] all = new float[ids.length * length * spec.vocabulary()];
        try (Decoder decoder = Decoder.open(c, spec, backend, settings)) {
            List<Sequence> sequences = Arrays.stream(ids).map(_ -> decoder.sequence()).toList();
            int some;
            for (int i = 0, at = 0; at < length; at += some, i++) {
                some = i == 0 ? parts[0] : parts[1 + (i - 1) % (parts.length - 1)];
                some = Math.min(some, length - at);
                List<Decoder.Chunk> chunks = new ArrayList<>();
                for (int s = 0; s < ids.length; s++) {
                    int[] part = Arrays.copyOfRange(ids[s], at, at + some);
                    chunks.add(new Decoder.Chunk(sequences.get(s), part, some));
                }
                float[][] logits = decoder.step(chunks);
                for (int r = 0; r < logits.length; r++) {
                    int row = r / some * length + at + r % some;
                    System.arraycopy(logits[r], 0, all, row * spec.vocabulary(), spec.vocabulary());
                }
            }
            sequences.forEach(Sequence::close);
        }
        return all;
    }

    /// The sum of squared differences.
    private static double squares(float[] want, float[] got) {
        double sum = 0;
        for (int i = 0; i < want.length; i++) {
            double difference = want[i] - got[i];
            sum += difference * difference;
        }
        return sum;
    }

    private static double worst(float[] want, float[] got) {
        double worst = 0;
        for (int i = 0; i < want.length; i++) {
            double difference = Math.abs(want[i] - got[i]);
            worst = difference <= worst ? worst : difference;
        }
        return worst;
    }
}
