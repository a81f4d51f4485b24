// SPDX-License-Identifier: Apache-2.0
package io.llmc.model;

import static org.assertj.core.api.Assertions.assertThat;

import io.llmc.backend.Backend;
import io.llmc.backend.BackendOptions;
import io.llmc.backend.ForwardOp;
import io.llmc.backend.TensorArena;
import io.llmc.backend.cpu.CpuBackend;
import io.llmc.model.structure.RowSpec.Ends;
import io.llmc.tensor.DType;
import io.llmc.tensor.Shape;
import io.llmc.tensor.Tensor;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.List;
import java.util.Random;
import java.util.stream.IntStream;
import org.assertj.core.data.Offset;
import org.junit.jupiter.api.Test;

/// Streams before and behind branches, against their formulas in double precision.
class HyperConnectionsTest {
    private static final int N = 3;
    private static final int HIDDEN = 5;
    private static final int TOKENS = 4;
    private static final int BESIDE = 2;
    private static final int WEIGHTS = N * (N + 2);
    private static final double EPS = 0.01;
    private static final HyperConnectionsSpec SPEC =
            new HyperConnectionsSpec(List.of("a_", "b_"), N, HIDDEN, 0.1, 3, EPS);

    private final Random random = new Random(7);

    /// Two branches: the first one's result, and that of the one beside it, reach the streams as
    /// one; the second has weights of its own.
    @Test
    void branchesReadASumAndAddToAllStreams() {
        try (Backend backend = new CpuBackend(new BackendOptions(2, BackendOptions.Math.PORTABLE));
                TensorArena arena = backend.newArena(1 << 20)) {
            double[][] row = numbers(TOKENS, (1 + N) * HIDDEN + BESIDE);
            List<double[][][]> own = List.of(connection(), connection());
            var connections =
                    new HyperConnections(
                            SPEC,
                            own.stream()
                                    .map(c ->
                                            List.of(
                                                    tensor(backend, arena, c[0]),
                                                    tensor(backend, arena, c[1]).reshape(WEIGHTS),
                                                    tensor(backend, arena, c[2]).reshape(3)))
                                    .toList());
            BranchSpec reads = BranchSpec.of(null, null);
            List<Stage> stages =
                    connections.around(
                            List.of(reads, reads.beside(), reads),
                            List.of(List.of(times(2)), List.of(times(3)), List.of(times(5))));
            assertThat(stages).hasSize(7);
            Forward f = new Forward(backend, arena, null);
            Stage.Activations a = Stage.Activations.of(tensor(backend, arena, row));
            for (Stage stage : stages) {
                a = stage.run(f, a);
            }
            float[] got = backend.floats(a.x());
            double[][] want = new double[TOKENS][];
            for (int t = 0; t < TOKENS; t++) {
                want[t] = connected(connected(row[t], own.get(0), 6), own.get(1), 5);
            }
            compare(got, want);
        }
    }

    @Test
    void streamsEndAsAWeightedSum() {
        try (Backend backend = new CpuBackend(new BackendOptions(2, BackendOptions.Math.PORTABLE));
                TensorArena arena = backend.newArena(1 << 20)) {
            double[][] row = numbers(TOKENS, (1 + N) * HIDDEN + BESIDE);
            double[][] fn = numbers(N, N * HIDDEN);
            double[][] base = numbers(1, N);
            double[][] scale = numbers(1, 1);
            var ends =
                    new WeightedEnds(
                            new Ends.Weighted("head_", 0.1, EPS),
                            List.of(
                                    tensor(backend, arena, fn),
                                    tensor(backend, arena, base).reshape(N),
                                    tensor(backend, arena, scale).reshape(1)));
            Forward f = new Forward(backend, arena, null);
            Tensor out = f.allocate(TOKENS, HIDDEN);
            ends.gather(f, out, tensor(backend, arena, row));
            double[][] want = new double[TOKENS][HIDDEN];
            double[][] mean = new double[TOKENS][HIDDEN];
            for (int t = 0; t < TOKENS; t++) {
                double[] u = products(row[t], fn);
                for (int i = 0; i < N; i++) {
                    double share = sigmoid(scale[0][0] * u[i] + base[0][i]) + EPS;
                    for (int c = 0; c < HIDDEN; c++) {
                        want[t][c] += share * row[t][(1 + i) * HIDDEN + c];
                        mean[t][c] += row[t][(1 + i) * HIDDEN + c] / N;
                    }
                }
            }
            compare(backend.floats(out), want);
            new MeanEnds(N).gather(f, out, tensor(backend, arena, row));
            compare(backend.floats(out), mean);
        }
    }

    @Test
    void streamsBeginAsTheEmbedding() {
        try (Backend backend = new CpuBackend(new BackendOptions(2, BackendOptions.Math.PORTABLE));
                TensorArena arena = backend.newArena(1 << 20)) {
            double[][] x = numbers(TOKENS, HIDDEN);
            Forward f = new Forward(backend, arena, null);
            Tensor row = f.allocate(TOKENS, (1 + N) * HIDDEN);
            new MeanEnds(N).spread(f, row, tensor(backend, arena, x));
            double[][] want = new double[TOKENS][(1 + N) * HIDDEN];
            for (int t = 0; t < TOKENS; t++) {
                for (int c = HIDDEN; c < want[t].length; c++) {
                    want[t][c] = x[t][c % HIDDEN];
                }
            }
            compare(backend.floats(row), want);
        }
    }

    /// A branch that replaces what it reads by a multiple.
    private static Stage times(int factor) {
        return new StreamStage(
                HIDDEN,
                (f, out, row) -> {
                    Tensor x = f.columns(row, 0, HIDDEN);
                    Tensor y = f.allocate(x.rows(), HIDDEN);
                    f.run(new ForwardOp.Scale(y, x, factor));
                    f.run(new ForwardOp.PutColumns(out, y, 0));
                });
    }

    private static double[] connected(double[] row, double[][][] own, double factor) {
        double[] u = products(row, own[0]);
        for (int i = 0; i < WEIGHTS; i++) {
            u[i] = u[i] * own[2][0][Math.min(i / N, 2)] + own[1][0][i];
        }
        double[][] m = new double[N][N];
        for (int i = 0; i < N; i++) {
            double sum = 0;
            for (int j = 0; j < N; j++) {
                sum += Math.exp(u[2 * N + i * N + j]);
            }
            for (int j = 0; j < N; j++) {
                m[i][j] = Math.exp(u[2 * N + i * N + j]) / sum + EPS;
            }
        }
        columns(m);
        for (int round = 1; round < 3; round++) {
            for (double[] line : m) {
                double sum = EPS + line[0] + line[1] + line[2];
                for (int j = 0; j < N; j++) {
                    line[j] /= sum;
                }
            }
            columns(m);
        }
        double[] next = row.clone();
        for (int c = 0; c < HIDDEN; c++) {
            next[c] = 0;
            double read = 0;
            for (int i = 0; i < N; i++) {
                read += (sigmoid(u[i]) + EPS) * row[(1 + i) * HIDDEN + c];
            }
            for (int j = 0; j < N; j++) {
                double x = 2 * sigmoid(u[N + j]) * factor * read;
                for (int i = 0; i < N; i++) {
                    x += m[i][j] * row[(1 + i) * HIDDEN + c];
                }
                next[(1 + j) * HIDDEN + c] = x;
            }
        }
        return next;
    }

    private static void columns(double[][] m) {
        for (int j = 0; j < N; j++) {
            double sum = EPS + m[0][j] + m[1][j] + m[2][j];
            for (int i = 0; i < N; i++) {
                m[i][j] /= sum;
            }
        }
    }

    /// Of all streams, normed.
    private static double[] products(double[] row, double[][] fn) {
        double squares = 0;
        for (int c = 0; c < N * HIDDEN; c++) {
            squares += row[HIDDEN + c] * row[HIDDEN + c] / (N * HIDDEN);
        }
        double[] u = new double[fn.length];
        for (int o = 0; o < fn.length; o++) {
            for (int c = 0; c < N * HIDDEN; c++) {
                u[o] += fn[o][c] * row[HIDDEN + c] / Math.sqrt(squares + 0.1);
            }
        }
        return u;
    }

    private static double sigmoid(double x) {
        return 1 / (1 + Math.exp(-x));
    }

    /// As [HyperConnectionsSpec#tensors].
    private double[][][] connection() {
        return new double[][][] {numbers(WEIGHTS, N * HIDDEN), numbers(1, WEIGHTS), numbers(1, 3)};
    }

    private double[][] numbers(int rows, int cols) {
        return IntStream.range(0, rows)
                .mapToObj(_ ->
                        IntStream.range(0, cols)
                                .mapToDouble(_ -> (float) random.nextGaussian())
                                .toArray())
                .toArray(double[][]::new);
    }

    private static Tensor tensor(Backend backend, TensorArena arena, double[][] x) {
        Tensor t = arena.allocate(DType.F32, new Shape(x.length, x[0].length));
        try (Arena host = Arena.ofConfined()) {
            MemorySegment copy = host.allocate(t.byteSize(), 8);
            for (int r = 0; r < x.length; r++) {
                for (int c = 0; c < x[r].length; c++) {
                    copy.setAtIndex(
                            ValueLayout.JAVA_FLOAT, (long) r * x[r].length + c, (float) x[r][c]);
                }
            }
            backend.upload(t, copy);
        }
        return t;
    }

    private static void compare(float[] got, double[][] want) {
        for (int i = 0; i < got.length; i++) {
            double number = want[i / want[0].length][i % want[0].length];
            assertThat((double) got[i])
                    .as("number %d", i)
                    .isCloseTo(number, Offset.offset(2e-6 * (1 + Math.abs(number))));
        }
    }
}
