// SPDX-License-Identifier: Apache-2.0
package io.llmc.backend.cpu;

import static io.llmc.backend.cpu.Lanes.F;
import static io.llmc.backend.cpu.Lanes.F32;
import static io.llmc.backend.cpu.Lanes.I32;
import static io.llmc.backend.cpu.Lanes.N;

import io.llmc.backend.Op;
import io.llmc.tensor.DType;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import jdk.incubator.vector.FloatVector;

/// GPTQ's column loop: sequential over columns, one lane a row.
final class GptqKernels {
    private final Workers workers;
    private final Gemm gemm;

    GptqKernels(Workers workers, Gemm gemm) {
        this.workers = workers;
        this.gemm = gemm;
    }

    void block(Op.AccumulateGptqBlock op) {
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
        MemorySegment.copy(op.groupOf().bytes(), I32, 4L * from, groupOf, 0, n);
        MemorySegment w = op.w().bytes();
        MemorySegment codes = op.codes().bytes();
        MemorySegment errors = op.errors().bytes();
        workers.forEach(
                Math.ceilDiv(outs, N),
                (tile, scratch) -> {
                    int first = tile * N;
                    int count = Math.min(N, outs - first);
                    float[] x = scratch.floats(1, n * N);
                    float[] e = scratch.floats(2, n * N);
                    float[] q = scratch.floats(3, n * N);
                    Operand.of(op.w()).pack(x, 0, N, first, count, from, n, scratch);
                    columns(op, x, e, q, u, groupOf, n, first, count, scratch);
                    float[] row = scratch.floats(0, n);
                    for (int i = 0; i < count; i++) {
                        for (int j = 0; j < n; j++) {
                            row[j] = x[j * N + i];
                        }
                        long r = (long) first + i;
                        MemorySegment.copy(row, 0, w, F32, 4 * (r * in + from), n);
                        for (int j = 0; j < n; j++) {
                            row[j] = e[j * N + i];
                        }
                        MemorySegment.copy(row, 0, errors, F32, 4 * r * n, n);
                        for (int j = 0; j < n; j++) {
                            codes.set(
                                    ValueLayout.JAVA_BYTE, r * in + from + j, (byte) q[j * N + i]);
                        }
                    }
                });
    }

    /// @param x weights, e errors, q codes, `[n][N]`
    private static void columns(
            Op.AccumulateGptqBlock op,
            float[] x,
            float[] e,
            float[] q,
            float[] u,
            int[] groupOf,
            int n,
            int first,
            int count,
            Scratch scratch) {
        int max = op.spec().maxCode();
        DType type = op.scales().dtype();
        MemorySegment scaleBytes = op.scales().bytes();
        MemorySegment zeroBytes = op.zeros().bytes();
        long groups = op.scales().cols();
        float[] s = scratch.floats(4, N);
        float[] z = scratch.floats(5, N);
        java.util.Arrays.fill(s, 0, N, 1);
        java.util.Arrays.fill(z, 0, N, 0);
        int current = -1;
        for (int j = 0; j < n; j++) {
            if (groupOf[j] != current) {
                current = groupOf[j];
                for (int i = 0; i < count; i++) {
                    long at = (first + i) * groups + current;
                    Lanes.read(s, i, scaleBytes, type, at, 1);
                    z[i] = zeroBytes.get(ValueLayout.JAVA_BYTE, at) & 0xff;
                }
            }
            FloatVector scale = FloatVector.fromArray(F, s, 0);
            FloatVector zero = FloatVector.fromArray(F, z, 0);
            FloatVector w = FloatVector.fromArray(F, x, j * N);
            FloatVector code = QuantKernels.code(w, scale, zero, max);
            FloatVector error =
                    w.sub(QuantKernels.value(code, scale, zero, type)).div(u[j * n + j]);
            code.intoArray(q, j * N);
            error.intoArray(e, j * N);
            FloatVector minus = error.neg();
            for (int k = j + 1; k < n; k++) {
                minus.fma(
                                FloatVector.broadcast(F, u[j * n + k]),
                                FloatVector.fromArray(F, x, k * N))
                        .intoArray(x, k * N);
            }
        }
    }

    void spread(Op.AccumulateGptqSpread op) {
        int in = Math.toIntExact(op.w().cols());
        if (op.to() == in) {
            return;
        }
        gemm.multiply(
                new Product(
                        op.w().bytes(),
                        op.to(),
                        in,
                        Math.toIntExact(op.w().rows()),
                        in - op.to(),
                        op.to() - op.from(),
                        Operand.of(op.errors()),
                        new Operand.Columns(op.u().bytes(), (long) op.from() * in + op.to(), in),
                        -1,
                        true,
                        false));
    }
}
