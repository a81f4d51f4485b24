// SPDX-License-Identifier: Apache-2.0
package io.llmc.backend.cpu;

import static io.llmc.backend.cpu.Lanes.F;
import static io.llmc.backend.cpu.Lanes.F32;
import static io.llmc.backend.cpu.Lanes.I32;
import static io.llmc.backend.cpu.Lanes.N;

import io.llmc.backend.GradientOp;
import io.llmc.tensor.DType;
import io.llmc.tensor.Tensor;
import java.lang.foreign.MemorySegment;
import jdk.incubator.vector.FloatVector;

/// Gradients of what moves rows, turns them, or chooses among them.
final class RowGradKernels {
    private final Workers workers;

    RowGradKernels(Workers workers) {
        this.workers = workers;
    }

    /// `dx[:, from : from + n] += dout`
    void columns(Tensor dx, Tensor dout, long from) {
        int n = Math.toIntExact(dout.cols());
        MemorySegment sums = dx.bytes();
        MemorySegment douts = dout.bytes();
        workers.forEachRow(
                dout.rows(),
                n,
                (r, scratch) -> {
                    float[] a = scratch.floats(0, Lanes.padded(n));
                    float[] b = scratch.floats(1, Lanes.padded(n));
                    long at = r * dx.cols() + from;
                    Lanes.read(a, 0, sums, DType.F32, at, n);
                    Lanes.read(b, 0, douts, DType.F32, r * n, n);
                    for (int i = 0; i < n; i += N) {
                        FloatVector.fromArray(F, a, i)
                                .add(FloatVector.fromArray(F, b, i))
                                .intoArray(a, i);
                    }
                    Lanes.write(sums, DType.F32, at, a, 0, n);
                });
    }

    /// The turn back: by the same angle with the other sign, `(a cos + b sin, b cos - a sin)`;
    /// dimensions that do not turn are passed on.
    void rope(Tensor dx, Tensor dout, Tensor cosSin, int headDim, int length, boolean interleaved) {
        int cols = Math.toIntExact(dx.cols());
        int rotated = Math.toIntExact(cosSin.cols());
        int pairs = rotated / 2;
        MemorySegment sums = dx.bytes();
        MemorySegment douts = dout.bytes();
        MemorySegment table = cosSin.bytes();
        workers.forEachRow(
                dx.rows(),
                cols,
                (t, scratch) -> {
                    float[] a = scratch.floats(0, Lanes.padded(cols));
                    float[] d = scratch.floats(1, Lanes.padded(cols));
                    float[] cs = scratch.floats(2, rotated);
                    Lanes.read(a, 0, sums, DType.F32, t * cols, cols);
                    Lanes.read(d, 0, douts, DType.F32, t * cols, cols);
                    Lanes.read(cs, 0, table, DType.F32, t % length * rotated, rotated);
                    for (int head = 0; head < cols; head += headDim) {
                        for (int k = 0; k < pairs; k++) {
                            int i = head + (interleaved ? 2 * k : k);
                            int j = head + (interleaved ? 2 * k + 1 : pairs + k);
                            a[i] += Math.fma(d[i], cs[k], d[j] * cs[pairs + k]);
                            a[j] += Math.fma(d[j], cs[k], -(d[i] * cs[pairs + k]));
                        }
                        for (int i = head + rotated; i < head + headDim; i++) {
                            a[i] += d[i];
                        }
                    }
                    Lanes.write(sums, DType.F32, t * cols, a, 0, cols);
                });
    }

    /// `dx[r] += factor w[r] dsum[rows[r]]` and `dw[r] += factor x[r] . dsum[rows[r]]`.
    void rows(GradientOp.AccumulateRowsGrad op) {
        int cols = Math.toIntExact(op.x().cols());
        MemorySegment dxs = op.dx().bytes();
        MemorySegment dsums = op.dsum().bytes();
        MemorySegment xs = op.x().bytes();
        MemorySegment index = op.rows().bytes();
        MemorySegment weights = op.weights() == null ? null : op.weights().bytes();
        MemorySegment dweights = op.dweights() == null ? null : op.dweights().bytes();
        workers.forEachRow(
                op.x().rows(),
                cols,
                (r, scratch) -> {
                    float[] d = scratch.floats(0, Lanes.padded(cols));
                    float[] a = scratch.floats(1, Lanes.padded(cols));
                    Lanes.read(d, 0, dsums, DType.F32, (long) index.get(I32, 4 * r) * cols, cols);
                    Lanes.read(a, 0, dxs, DType.F32, r * cols, cols);
                    // Many x may have gone into one row of the sum: each reads it, none writes it.
                    float f = op.factor() * (weights == null ? 1 : weights.get(F32, 4 * r));
                    FloatVector factor = FloatVector.broadcast(F, f);
                    for (int i = 0; i < cols; i += N) {
                        FloatVector.fromArray(F, d, i)
                                .fma(factor, FloatVector.fromArray(F, a, i))
                                .intoArray(a, i);
                    }
                    Lanes.write(dxs, DType.F32, r * cols, a, 0, cols);
                    if (dweights != null) {
                        Lanes.read(a, 0, xs, DType.F32, r * cols, cols);
                        double dot = 0;
                        for (int i = 0; i < cols; i++) {
                            dot += (double) a[i] * d[i];
                        }
                        float before = dweights.get(F32, 4 * r);
                        dweights.set(F32, 4 * r, (float) (before + op.factor() * dot));
                    }
                });
    }
}
