// SPDX-License-Identifier: Apache-2.0
package io.llmc.backend.cpu;

import static io.llmc.backend.cpu.Lanes.F;
import static io.llmc.backend.cpu.Lanes.N;

import io.llmc.tensor.DType;
import io.llmc.tensor.Tensor;
import java.lang.foreign.MemorySegment;
import jdk.incubator.vector.FloatVector;

/// What scales of channels are made of, and what they do to weights.
final class ScaleKernels {
    /// Elements of a tile: enough to be worth a thread's while.
    private static final int TILE = 1 << 14;

    /// Columns of which a thread keeps the maxima.
    private static final int COLUMNS = 256;

    private final Workers workers;

    ScaleKernels(Workers workers) {
        this.workers = workers;
    }

    /// A row of a weight, changed in place; padded to whole vectors.
    @FunctionalInterface
    private interface Row {
        void change(float[] x, int row, Scratch scratch);
    }

    private void rows(Tensor out, Tensor w, Row by) {
        int cols = Math.toIntExact(w.cols());
        int rows = Math.toIntExact(w.rows());
        int perTile = Math.max(1, TILE / cols);
        MemorySegment outs = out.bytes();
        MemorySegment ws = w.bytes();
        workers.forEach(
                Math.ceilDiv(rows, perTile),
                (tile, scratch) -> {
                    float[] x = scratch.floats(0, Lanes.padded(cols) + N);
                    for (int r = tile * perTile; r < Math.min(rows, (tile + 1) * perTile); r++) {
                        Lanes.read(x, 0, ws, w.dtype(), (long) r * cols, cols);
                        by.change(x, r, scratch);
                        Lanes.write(outs, DType.F32, (long) r * cols, x, 0, cols);
                    }
                });
    }

    void scaleColumns(Tensor out, Tensor w, Tensor factors) {
        int cols = Math.toIntExact(w.cols());
        float[] f = new float[Lanes.padded(cols)];
        Lanes.read(f, 0, factors.bytes(), DType.F32, 0, cols);
        rows(
                out,
                w,
                (x, _, _) -> {
                    for (int i = 0; i < cols; i += N) {
                        FloatVector.fromArray(F, x, i)
                                .mul(FloatVector.fromArray(F, f, i))
                                .intoArray(x, i);
                    }
                });
    }

    void clamp(Tensor out, Tensor w, Tensor limits) {
        int cols = Math.toIntExact(w.cols());
        int groups = Math.toIntExact(limits.cols());
        int width = cols / groups;
        MemorySegment most = limits.bytes();
        rows(
                out,
                w,
                (x, r, scratch) -> {
                    float[] limit = scratch.floats(1, groups);
                    Lanes.read(limit, 0, most, DType.F32, (long) r * groups, groups);
                    for (int g = 0; g < groups; g++) {
                        for (int i = g * width; i < (g + 1) * width; i++) {
                            x[i] = Math.clamp(x[i], -limit[g], limit[g]);
                        }
                    }
                });
    }

    void columnMaxima(Tensor most, Tensor x) {
        int cols = Math.toIntExact(x.cols());
        MemorySegment maxima = most.bytes();
        MemorySegment xs = x.bytes();
        workers.forEach(
                Math.ceilDiv(cols, COLUMNS),
                (tile, scratch) -> {
                    int first = tile * COLUMNS;
                    int n = Math.min(COLUMNS, cols - first);
                    float[] row = scratch.floats(0, COLUMNS + N);
                    float[] found = scratch.floats(1, COLUMNS + N);
                    Lanes.read(found, 0, maxima, DType.F32, first, n);
                    for (long r = 0; r < x.rows(); r++) {
                        Lanes.read(row, 0, xs, x.dtype(), r * cols + first, n);
                        for (int c = 0; c < n; c += N) {
                            FloatVector.fromArray(F, row, c)
                                    .abs()
                                    .max(FloatVector.fromArray(F, found, c))
                                    .intoArray(found, c);
                        }
                    }
                    Lanes.write(maxima, DType.F32, first, found, 0, n);
                });
    }
}
