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
///
/// A column waits for the one before it through two divisions, so a tile has more than one vector
/// of rows: what they wait for is not each other.
final class ObsKernels {
    /// Columns whose errors stay in registers while they are taken from those behind them.
    private static final int STRIP = 8;

    /// Rows of a tile.
    private static final int ROWS = 2 * N;

    private final Workers workers;
    private final Supplier<Gemm> gemm;

    /// @param gemm asked for at the first block that is spread
    ObsKernels(Workers workers, Supplier<Gemm> gemm) {
        this.workers = workers;
        this.gemm = gemm;
    }

    /// What a tile works on, each `[n][ROWS]`.
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
        RoundingGrid grid = op.grid() == null ? null : RoundingGrid.of(op.grid(), outs);
        workers.forEach(
                Math.ceilDiv(outs, ROWS),
                (index, scratch) -> {
                    int first = index * ROWS;
                    Tile tile =
                            new Tile(
                                    scratch.floats(1, Lanes.padded(n) * ROWS),
                                    scratch.floats(2, Lanes.padded(n) * ROWS),
                                    scratch.floats(3, Lanes.padded(n) * ROWS),
                                    scratch.floats(6, Lanes.padded(n) * ROWS),
                                    first,
                                    Math.min(ROWS, outs - first),
                                    n);
                    Operand.of(op.w()).pack(tile.x, 0, ROWS, first, tile.count, from, n, scratch);
                    readMask(op, tile);
                    columns(op, grid, tile, u, groupOf, scratch);
                    write(tile.x, tile, scratch, op.w().bytes(), in, from);
                    write(tile.e, tile, scratch, op.errors().bytes(), n, 0);
                    if (op.grid() != null) {
                        writeOctets(tile.q, tile, scratch, op.grid().codes().bytes(), in, from);
                    }
                    if (op.pruning() != null && op.pruning().chosen() != null) {
                        MemorySegment mask = op.pruning().mask().bytes();
                        writeOctets(tile.pruned, tile, scratch, mask, in, from);
                    }
                });
    }

    private static void readMask(CompressionOp.AccumulateObsBlock op, Tile tile) {
        Arrays.fill(tile.pruned, 0, tile.n * ROWS, 0);
        if (op.pruning() == null || op.pruning().chosen() != null) {
            return;
        }
        MemorySegment mask = op.pruning().mask().bytes();
        for (int i = 0; i < tile.count; i++) {
            long at = (long) (tile.first + i) * op.w().cols() + op.from();
            for (int j = 0; j < tile.n; j++) {
                tile.pruned[j * ROWS + i] = mask.get(ValueLayout.JAVA_BYTE, at + j);
            }
        }
    }

    /// Rows of what a tile holds as columns.
    ///
    /// @return `[ROWS][padded(n)]`
    private static float[] rows(float[] values, Tile tile, Scratch scratch) {
        int width = Lanes.padded(tile.n);
        float[] rows = scratch.floats(0, ROWS * width);
        Panels.transpose(rows, 0, width, values, ROWS, tile.n, ROWS);
        return rows;
    }

    private static void write(
            float[] values, Tile tile, Scratch scratch, MemorySegment to, long stride, int from) {
        float[] rows = rows(values, tile, scratch);
        for (int i = 0; i < tile.count; i++) {
            long r = (long) tile.first + i;
            int at = i * Lanes.padded(tile.n);
            MemorySegment.copy(rows, at, to, F32, 4 * (r * stride + from), tile.n);
        }
    }

    private static void writeOctets(
            float[] values, Tile tile, Scratch scratch, MemorySegment to, long stride, int from) {
        float[] rows = rows(values, tile, scratch);
        byte[] row = scratch.octets(tile.n);
        for (int i = 0; i < tile.count; i++) {
            int at = i * Lanes.padded(tile.n);
            for (int j = 0; j < tile.n; j++) {
                row[j] = (byte) rows[at + j];
            }
            long r = (long) tile.first + i;
            MemorySegment.copy(row, 0, to, ValueLayout.JAVA_BYTE, r * stride + from, tile.n);
        }
    }

    private static void columns(
            CompressionOp.AccumulateObsBlock op,
            RoundingGrid grid,
            Tile t,
            float[] u,
            int[] groupOf,
            Scratch scratch) {
        int n = t.n;
        CompressionOp.MaskRule.NOfM chosen = op.pruning() == null ? null : op.pruning().chosen();
        float[] s = scratch.floats(4, ROWS);
        float[] z = scratch.floats(5, ROWS);
        Arrays.fill(s, 0, ROWS, 1);
        Arrays.fill(z, 0, ROWS, 0);
        // A group of which some are chosen must have met all errors before it.
        int strip = chosen == null || STRIP % chosen.m() == 0 ? STRIP : 1;
        int current = -1;
        for (int from = 0; from < n; from += strip) {
            int to = Math.min(n, from + strip);
            for (int j = from; j < to; j++) {
                if (grid != null && groupOf[j] != current) {
                    current = groupOf[j];
                    grid.read(t.first, t.count, current, s, z);
                }
                if (chosen != null && j % chosen.m() == 0) {
                    choose(chosen, t, j, u);
                }
                for (int i = 0; i < ROWS; i += N) {
                    FloatVector error = column(grid, t, s, z, i, j, u[j * n + j]);
                    for (int k = j + 1; k < to; k++) {
                        take(t.x, k * ROWS + i, error, u[j * n + k]);
                    }
                }
            }
            for (int i = 0; i < ROWS && to < n; i += N) {
                behind(t, u, from, to, i);
            }
        }
    }

    /// Rows `[i, i + N)` of column j become their values.
    ///
    /// @param diagonal `u[j,j]`
    /// @return their errors
    private static FloatVector column(
            RoundingGrid grid, Tile t, float[] s, float[] z, int i, int j, float diagonal) {
        int at = j * ROWS + i;
        FloatVector w = FloatVector.fromArray(F, t.x, at);
        FloatVector value = w;
        var pruned = FloatVector.fromArray(F, t.pruned, at).compare(VectorOperators.NE, 0f);
        if (grid != null) {
            FloatVector scale = FloatVector.fromArray(F, s, i);
            FloatVector zero = FloatVector.fromArray(F, z, i);
            value = grid.round(t.q, at, w, scale, zero, pruned);
        }
        value = value.blend(0f, pruned);
        FloatVector error = w.sub(value).div(diagonal);
        value.intoArray(t.x, at);
        error.intoArray(t.e, at);
        return error;
    }

    /// `x[at] -= error * u`
    private static void take(float[] x, int at, FloatVector error, float u) {
        error.neg()
                .fma(FloatVector.broadcast(F, u), FloatVector.fromArray(F, x, at))
                .intoArray(x, at);
    }

    /// Takes the errors of the columns `[from, to)` from the columns of the block behind them, for
    /// rows `[i, i + N)`. Each weight meets them in their order, as if they came one by one.
    private static void behind(Tile t, float[] u, int from, int to, int i) {
        int n = t.n;
        if (to - from != STRIP) {
            FloatVector error = FloatVector.fromArray(F, t.e, from * ROWS + i);
            for (int k = to; k < n; k++) {
                take(t.x, k * ROWS + i, error, u[from * n + k]);
            }
            return;
        }
        FloatVector e0 = FloatVector.fromArray(F, t.e, from * ROWS + i).neg();
        FloatVector e1 = FloatVector.fromArray(F, t.e, (from + 1) * ROWS + i).neg();
        FloatVector e2 = FloatVector.fromArray(F, t.e, (from + 2) * ROWS + i).neg();
        FloatVector e3 = FloatVector.fromArray(F, t.e, (from + 3) * ROWS + i).neg();
        FloatVector e4 = FloatVector.fromArray(F, t.e, (from + 4) * ROWS + i).neg();
        FloatVector e5 = FloatVector.fromArray(F, t.e, (from + 5) * ROWS + i).neg();
        FloatVector e6 = FloatVector.fromArray(F, t.e, (from + 6) * ROWS + i).neg();
        FloatVector e7 = FloatVector.fromArray(F, t.e, (from + 7) * ROWS + i).neg();
        for (int k = to; k < n; k++) {
            int at = from * n + k;
            FloatVector x = FloatVector.fromArray(F, t.x, k * ROWS + i);
            x = e0.fma(FloatVector.broadcast(F, u[at]), x);
            x = e1.fma(FloatVector.broadcast(F, u[at + n]), x);
            x = e2.fma(FloatVector.broadcast(F, u[at + 2 * n]), x);
            x = e3.fma(FloatVector.broadcast(F, u[at + 3 * n]), x);
            x = e4.fma(FloatVector.broadcast(F, u[at + 4 * n]), x);
            x = e5.fma(FloatVector.broadcast(F, u[at + 5 * n]), x);
            x = e6.fma(FloatVector.broadcast(F, u[at + 6 * n]), x);
            x = e7.fma(FloatVector.broadcast(F, u[at + 7 * n]), x);
            x.intoArray(t.x, k * ROWS + i);
        }
    }

    /// Prunes the `m - n` weights of the group at column j that cost least, row by row.
    private static void choose(CompressionOp.MaskRule.NOfM rule, Tile t, int j, float[] u) {
        for (int i = 0; i < t.count; i++) {
            for (int zeros = rule.m() - rule.n(); zeros > 0; zeros--) {
                int least = -1;
                float cost = 0;
                for (int k = j; k < j + rule.m(); k++) {
                    float w = t.x[k * ROWS + i];
                    float d = u[k * t.n + k];
                    float c = w * w / (d * d);
                    if (t.pruned[k * ROWS + i] == 0 && (least < 0 || c < cost)) {
                        least = k;
                        cost = c;
                    }
                }
                t.pruned[least * ROWS + i] = 1;
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
