// SPDX-License-Identifier: Apache-2.0
package io.llmc.model;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import io.llmc.backend.Backend;
import io.llmc.backend.BackendOptions;
import io.llmc.backend.ForwardOp;
import io.llmc.backend.TensorArena;
import io.llmc.backend.cpu.CpuBackend;
import io.llmc.model.LatentAttentionSpec.Factored;
import io.llmc.model.LatentAttentionSpec.Heads;
import io.llmc.model.structure.NormSpec;
import io.llmc.tensor.Codes;
import io.llmc.tensor.DType;
import io.llmc.tensor.Encoding;
import io.llmc.tensor.Shape;
import io.llmc.tensor.Tensor;
import io.llmc.tensor.Tiles;
import io.llmc.tensor.Weight;
import java.lang.foreign.Arena;
import java.lang.foreign.ValueLayout;
import java.util.List;
import java.util.Random;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/// The products in either order, for weights whose rows can be cut out one by one, or only with
/// others that share scales with them.
class AbsorbedAttentionTest {
    private static final int LENGTH = 6;
    private static final int ROWS = 2 * LENGTH;
    private static final int RANK = 32;
    private static final int STILL = 5;
    private static final int VALUE = 3;
    private static final int HEADS = 3;
    private static final int OUT = HEADS * (STILL + VALUE);
    private static final float SCALE = 0.3f;

    private final Random random = new Random(1);

    @ParameterizedTest
    @ValueSource(ints = {0, 2})
    void givesWhatKeysAndValuesGive(int turning) {
        try (Backend backend = new CpuBackend(new BackendOptions(2, BackendOptions.Math.PORTABLE));
                TensorArena arena = backend.newArena(1 << 20)) {
            for (Weight weight : weights(backend, arena)) {
                check(backend, arena, weight, turning);
            }
        }
    }

    private List<Weight> weights(Backend backend, TensorArena arena) {
        var floats = Codes.Floats.E4M3;
        return List.of(
                new Weight.Dense(normal(backend, arena, OUT, RANK)),
                new Weight.Grouped(
                        new Encoding.Grid<>(new Codes.Ints(4, false), Tiles.groups(8)),
                        RANK,
                        bytes(backend, arena, DType.I32, OUT, RANK / 8),
                        normal(backend, arena, OUT, RANK / 8),
                        bytes(backend, arena, DType.U8, OUT, RANK / 8),
                        null),
                new Weight.Scaled(
                        new Encoding.Grid<>(floats, new Tiles(7, 16)),
                        bytes(backend, arena, DType.F8_E4M3, OUT, RANK),
                        normal(backend, arena, 4, 2)),
                new Weight.Scaled(
                        new Encoding.Grid<>(floats, Tiles.TENSOR),
                        bytes(backend, arena, DType.F8_E4M3, OUT, RANK),
                        normal(backend, arena, 1, 1)));
    }

    private void check(Backend backend, TensorArena arena, Weight weight, int turning) {
        LatentAttentionSpec spec =
                new LatentAttentionSpec(
                        Factored.whole("q"),
                        Factored.of("down", NormSpec.rms("norm", 1e-6), "up", RANK),
                        "attention.o",
                        false,
                        new Heads(HEADS, STILL, turning, VALUE),
                        SCALE,
                        null,
                        null);
        Positions positions =
                Positions.of(LayerSpec.of("", BranchSpec.of(null, spec)), LENGTH, backend, arena);
        Forward f = new Forward(backend, arena, positions);
        Tensor query = normal(backend, arena, ROWS, spec.queryWidth());
        Tensor latents = normal(backend, arena, ROWS, RANK);
        Tensor shared = turning == 0 ? null : normal(backend, arena, ROWS, turning);
        Tensor out = arena.allocate(DType.F32, new Shape(ROWS, spec.outWidth()));
        new AbsorbedAttention(spec, new Linear("up", weight, null, null))
                .run(f, out, query, new AbsorbedAttention.Kept(latents, shared), null);
        Tensor both = arena.allocate(DType.F32, new Shape(ROWS, OUT));
        backend.run(new ForwardOp.Matmul(both, latents, weight));
        double[] want =
                expanded(
                        backend.floats(query),
                        backend.floats(both),
                        shared == null ? new float[0] : backend.floats(shared),
                        turning);
        float[] got = backend.floats(out);
        double largest = 0;
        for (double w : want) {
            largest = Math.max(largest, Math.abs(w));
        }
        for (int i = 0; i < got.length; i++) {
            assertThat((double) got[i])
                    .as("%s, %d", weight.encoding(), i)
                    .isCloseTo(want[i], within(1e-5 * largest));
        }
    }

    /// @param both keys and values by head
    private static double[] expanded(float[] query, float[] both, float[] shared, int turning) {
        double[] out = new double[ROWS * HEADS * VALUE];
        for (int t = 0; t < ROWS; t++) {
            for (int h = 0; h < HEADS; h++) {
                double sum = 0;
                double[] mean = new double[VALUE];
                for (int s = t / LENGTH * LENGTH; s <= t; s++) {
                    int head = s * OUT + h * (STILL + VALUE);
                    int asks = (t * HEADS + h) * (STILL + turning);
                    double score = 0;
                    for (int c = 0; c < STILL; c++) {
                        score += (double) query[asks + c] * both[head + c];
                    }
                    for (int c = 0; c < turning; c++) {
                        score += (double) query[asks + STILL + c] * shared[s * turning + c];
                    }
                    double weight = Math.exp(SCALE * score);
                    sum += weight;
                    for (int c = 0; c < VALUE; c++) {
                        mean[c] += weight * both[head + STILL + c];
                    }
                }
                for (int c = 0; c < VALUE; c++) {
                    out[(t * HEADS + h) * VALUE + c] = mean[c] / sum;
                }
            }
        }
        return out;
    }

    /// So small that no score is far above the others.
    private Tensor normal(Backend backend, TensorArena arena, long rows, long cols) {
        Tensor t = arena.allocate(DType.F32, new Shape(rows, cols));
        float[] values = new float[(int) (rows * cols)];
        for (int i = 0; i < values.length; i++) {
            values[i] = (float) (0.3 * random.nextGaussian());
        }
        try (Arena host = Arena.ofConfined()) {
            backend.upload(t, host.allocateFrom(ValueLayout.JAVA_FLOAT, values));
        }
        return t;
    }

    /// Codes: of floats, none that is no number.
    private Tensor bytes(Backend backend, TensorArena arena, DType type, long rows, long cols) {
        Tensor t = arena.allocate(type, new Shape(rows, cols));
        byte[] values = new byte[(int) t.byteSize()];
        for (int i = 0; i < values.length; i++) {
            values[i] = (byte) random.nextInt(type == DType.U8 ? 16 : 64);
        }
        try (Arena host = Arena.ofConfined()) {
            backend.upload(t, host.allocateFrom(ValueLayout.JAVA_BYTE, values));
        }
        return t;
    }
}
