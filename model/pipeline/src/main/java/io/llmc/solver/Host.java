// SPDX-License-Identifier: Apache-2.0
package io.llmc.solver;

import io.llmc.backend.Backend;
import io.llmc.backend.StatisticOp;
import io.llmc.backend.TensorArena;
import io.llmc.tensor.DType;
import io.llmc.tensor.Shape;
import io.llmc.tensor.Tensor;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;

/// Small vectors on their way between a device and Java.
public final class Host {
    private Host() {}

    public static float[] floats(Backend backend, Tensor t) {
        try (Arena host = backend.host().newArena()) {
            return download(backend, t, host).toArray(ValueLayout.JAVA_FLOAT);
        }
    }

    public static double[] doubles(Backend backend, Tensor t) {
        try (Arena host = backend.host().newArena()) {
            return download(backend, t, host).toArray(ValueLayout.JAVA_DOUBLE);
        }
    }

    public static int integer(Backend backend, Tensor t) {
        try (Arena host = backend.host().newArena()) {
            return download(backend, t, host).get(ValueLayout.JAVA_INT, 0);
        }
    }

    private static MemorySegment download(Backend backend, Tensor t, Arena host) {
        MemorySegment copy = host.allocate(t.byteSize(), 8);
        backend.download(copy, t);
        return copy;
    }

    /// I32 `[values.length]`
    public static Tensor ints(Backend backend, TensorArena arena, int[] values) {
        Tensor t = arena.allocate(DType.I32, new Shape(values.length));
        try (Arena host = backend.host().newArena()) {
            backend.upload(t, host.allocateFrom(ValueLayout.JAVA_INT, values));
        }
        return t;
    }

    /// F32 `[values.length]`
    public static Tensor floats(Backend backend, TensorArena arena, float[] values) {
        Tensor t = arena.allocate(DType.F32, new Shape(values.length));
        try (Arena host = backend.host().newArena()) {
            backend.upload(t, host.allocateFrom(ValueLayout.JAVA_FLOAT, values));
        }
        return t;
    }

    /// The sum of the squares of a float tensor's elements, row by row.
    public static double squares(Backend backend, Tensor t) {
        Tensor rows = t.shape().rank() == 2 ? t : t.reshape(1, t.shape().size());
        try (TensorArena scratch = backend.newArena(8 * rows.rows() + 1024)) {
            Tensor sums = scratch.allocate(DType.F64, new Shape(rows.rows()));
            backend.run(new StatisticOp.RowSquares(sums, rows));
            return sum(doubles(backend, sums));
        }
    }

    public static double sum(double[] values) {
        double sum = 0;
        for (double v : values) {
            sum += v;
        }
        return sum;
    }

    /// The share of ones in a mask.
    public static double share(Backend backend, Tensor mask) {
        try (Arena host = backend.host().newArena()) {
            MemorySegment bytes = host.allocate(mask.byteSize(), 8);
            backend.download(bytes, mask);
            long ones = 0;
            for (long i = 0; i < bytes.byteSize(); i++) {
                ones += bytes.get(ValueLayout.JAVA_BYTE, i);
            }
            return ones / (double) mask.byteSize();
        }
    }
}
