// SPDX-License-Identifier: Apache-2.0
package io.llmc.backend.cpu;

import static io.llmc.backend.cpu.Lanes.F;
import static io.llmc.backend.cpu.Lanes.F32;
import static io.llmc.backend.cpu.Lanes.I32;
import static io.llmc.backend.cpu.Lanes.N;

import io.llmc.backend.CompressionOp;
import io.llmc.tensor.DType;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.Arrays;
import java.util.function.Supplier;
import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.VectorOperators;

/// The column loop of GPTQ and SparseGPT: sequential over columns, one lane a row.
final class ObsKernels {
    private final Workers workers;
    private final Supplier<Gemm> gemm;

    /// @param gemm asked for at the first block that is spread
    ObsKernels(Workers workers, Supplier<Gemm> gemm) {
        this.workers = workers;
        this.gemm = gemm;
    }

    /// What a tile of N rows works on, each `[n][N]`.
    ///
    /// @param x weights, then values
    /// @param e errors
    /// @param q codes
    /// @param pruned 1 where a weight is pruned
    private record Tile(
            float[] x, float[] e, float[] q, float[] pruned, int first, int count, int n) {}

    void block(CompressionOp.AccumulateObsBlock op) {
        int from = op.from();
        int n = op.to() - from;
        int in = Math.toIntExact(op.w().cols());
        int outs = Math.toIntExact(op.w().rows());
        MemorySegment us = op.u().bytes();
        float[] u = new float[n * n];
        for (int j = 0; j < n; j++) {
            Lanes.read(u, j * n, us, DType.F32, (long) (from + j) * in + from, n);
        }
        int[] groupOf = new int[n];
        if (op.grid() != null) {
            MemorySegment.copy(op.grid().groupOf().bytes(), I32, 4L * from, groupOf, 0, n);
        }
        workers.forEach(
                Math.ceilDiv(outs, N),
                (index, scratch) -> {
                    int first = index * N;
                    Tile tile =
                            new Tile(
                                    scratch.floats(1, n * N),
                                    scratch.floats(2, n * N),
                                    scratch.floats(3, n * N),
                                    scratch.floats(6, n * N),
                                    first,
                                    Math.min(N, outs - first),
                                    n);
                    Operand.of(op.w()).pack(tile.x, 0, N, first, tile.count, from, n, scratch);
                    readMask(op, tile);
                    columns(op, tile, u, groupOf, scratch);
                    float[] row = scratch.floats(0, n);
                    write(tile.x, tile, row, op.w().bytes(), in, from);
                    write(tile.e, tile, row, op.errors().bytes(), n, 0);
                    if (op.grid() != null) {
                        writeOctets(tile.q, tile, op.grid().codes().bytes(), in, from);
                    }
                    if (op.pruning() != null && op.pruning().chosen() != null) {
                        writeOctets(tile.pruned, tile, op.pruning().mask().bytes(), in, from);
                    }
                });
    }

    private static void readMask(CompressionOp.AccumulateObsBlock op, Tile tile) {
        Arrays.fill(tile.pruned, 0, tile.n * N, 0);
        if (op.pruning() == null || op.pruning().chosen() != null) {
            return;
        }
        MemorySegment mask = op.pruning().mask().bytes();
        for (int i = 0; i < tile.count; i++) {
            long at = (long) (tile.first + i) * op.w().cols() + op.from();
            for (int j = 0; j < tile.n; j++) {
                tile.pruned[j * N + i] = mask.get(ValueLayout.JAVA_BYTE, at + j);
            }
        }
    }

    private static void write(
            float[] values, Tile tile, float[] row, MemorySegment to, long stride, int from) {
        for (int i = 0; i < tile.count; i++) {
            for (int j = 0; j < tile.n; j++) {
                row[j] = values[j * N + i];
            }
            long r = (long) tile.first + i;
            MemorySegment.copy(row, 0, to, F32, 4 * (r * stride + from), tile.n);
        }
    }

    private static void writeOctets(
            float[] values, Tile tile, MemorySegment to, long stride, int from) {
        for (int i = 0; i < tile.count; i++) {
            long at = (tile.first + i) * stride + from;
            for (int j = 0; j < tile.n; j++) {
                to.set(ValueLayout.JAVA_BYTE, at + j, (byte) values[j * N + i]);
            }
        }
    }

    private static void columns(
            CompressionOp.AccumulateObsBlock op,
            Tile t,
            float[] u,
            int[] groupOf,
            Scratch scratch) {
        int n = t.n;
        CompressionOp.MaskRule.NOfM chosen = op.pruning() == null ? null : op.pruning().chosen();
        float[] s = scratch.floats(4, N);
        float[] z = scratch.floats(5, N);
        Arrays.fill(s, 0, N, 1);
        Arrays.fill(z, 0, N, 0);
        int current = -1;
        for (int j = 0; j < n; j++) {
            if (op.grid() != null && groupOf[j] != current) {
                current = groupOf[j];
                readGrid(op.grid(), t, current, s, z);
            }
            if (chosen != null && j % chosen.m() == 0) {
                choose(chosen, t, j, u);
            }
            FloatVector w = FloatVector.fromArray(F, t.x, j * N);
            FloatVector value = w;
            var pruned = FloatVector.fromArray(F, t.pruned, j * N).compare(VectorOperators.NE, 0f);
            if (op.grid() != null) {
                FloatVector scale = FloatVector.fromArray(F, s, 0);
                FloatVector zero = FloatVector.fromArray(F, z, 0);
                FloatVector code =
                        QuantKernels.code(w, scale, zero, op.grid().spec().codes().maxCode())
                                .blend(zero, pruned);
                code.intoArray(t.q, j * N);
                value = QuantKernels.value(code, scale, zero, op.grid().scales().dtype());
            }
            value = value.blend(0f, pruned);
            FloatVector error = w.sub(value).div(u[j * n + j]);
            value.intoArray(t.x, j * N);
            error.intoArray(t.e, j * N);
            FloatVector minus = error.neg();
            for (int k = j + 1; k < n; k++) {
                minus.fma(
                                FloatVector.broadcast(F, u[j * n + k]),
                                FloatVector.fromArray(F, t.x, k * N))
                        .intoArray(t.x, k * N);
            }
        }
    }

    private static void readGrid(
            CompressionOp.AccumulateObsBlock.Grid grid, Tile t, int group, float[] s, float[] z) {
        long groups = grid.scales().cols();
        MemorySegment scales = grid.scales().bytes();
        MemorySegment zeros = grid.zeros().bytes();
        for (int i = 0; i < t.count; i++) {
            long at = (t.first + i) * groups + group;
            Lanes.read(s, i, scales, grid.scales().dtype(), at, 1);
            z[i] = zeros.get(ValueLayout.JAVA_BYTE, at) & 0xff;
        }
    }

    /// Prunes the `m - n` weights of the group at column j that cost least, row by row.
    private static void choose(CompressionOp.MaskRule.NOfM rule, Tile t, int j, float[] u) {
        for (int i = 0; i < t.count; i++) {
            for (int zeros = rule.m() - rule.n(); zeros > 0; zeros--) {
                int least = -1;
                float cost = 0;
                for (int k = j; k < j + rule.m(); k++) {
                    float w = t.x[k * N + i];
                    float d = u[k * t.n + k];
                    float c = w * w / (d * d);
                    if (t.pruned[k * N + i] == 0 && (least < 0 || c < cost)) {
                        least = k;
                        cost = c;
                    }
                }
                t.pruned[least * N + i] = 1;
            }
        }
    }

    void spread(CompressionOp.AccumulateObsSpread op) {
        int in = Math.toIntExact(op.w().cols());
        if (op.to() == in) {
            return;
        }
        gemm.get()
                .multiply(
                        new Product(
                                op.w().bytes(),
                                op.to(),
                                in,
                                Math.toIntExact(op.w().rows()),
                                in - op.to(),
                                op.to() - op.from(),
                                Operand.of(op.errors()),
                                new Operand.Columns(
                                        op.u().bytes(), (long) op.from() * in + op.to(), in),
                                -1,
                                true,
                                Product.Part.ALL));
    }
}
