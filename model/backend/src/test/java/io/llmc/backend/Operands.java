// SPDX-License-Identifier: Apache-2.0
package io.llmc.backend;

import io.llmc.tensor.BlockType;
import io.llmc.tensor.Codes;
import io.llmc.tensor.DType;
import io.llmc.tensor.Encoding;
import io.llmc.tensor.HostBuffer;
import io.llmc.tensor.ScaleKind;
import io.llmc.tensor.Shape;
import io.llmc.tensor.Tensor;
import io.llmc.tensor.Weight;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.ArrayList;
import java.util.List;
import java.util.Random;
import java.util.function.Function;
import java.util.function.LongToDoubleFunction;

/// Makes the operands of a case on one device: the same seed gives the same bytes everywhere.
///
/// Tensors that an operation writes lie between guards, whose bytes must not change.
public final class Operands {
    private static final byte GUARD = (byte) 0xA5;
    private static final int GUARD_BYTES = 256;

    private final Backend backend;
    private final TensorArena arena;
    private final Random random;
    private final List<Tensor> outputs = new ArrayList<>();
    private final List<Tensor> guards = new ArrayList<>();

    /// @param backend null for the reference, which works in host memory
    Operands(Backend backend, TensorArena arena, long seed) {
        this.backend = backend;
        this.arena = arena;
        random = new Random(seed);
    }

    Random random() {
        return random;
    }

    /// Everything that the operation writes, in the order in which it was made.
    List<Tensor> outputs() {
        return outputs;
    }

    Tensor of(DType type, LongToDoubleFunction value, long... dims) {
        MemorySegment host = Arena.ofAuto().allocate(bytes(type, dims), 64);
        Tensor t = Tensor.of(host, type, dims);
        for (long i = 0; i < t.shape().size(); i++) {
            ReferenceOps.set(t, i, value.applyAsDouble(i));
        }
        return put(t);
    }

    private static long bytes(DType type, long... dims) {
        return type.bytesFor(new Shape(dims).size());
    }

    private Tensor put(Tensor host) {
        if (backend == null) {
            return host;
        }
        Tensor t = arena.allocate(host.dtype(), host.shape());
        backend.upload(t, host.bytes());
        return t;
    }

    /// Normally distributed.
    Tensor normal(DType type, double scale, long... dims) {
        return of(type, _ -> scale * random.nextGaussian(), dims);
    }

    Tensor normal(long... dims) {
        return normal(DType.F32, 1, dims);
    }

    /// What another operation gives, as an input.
    Tensor result(Function<Tensor, Op> op, long... dims) {
        Tensor out = of(DType.F32, _ -> 0, dims);
        run(op.apply(out));
        return out;
    }

    /// Prepares an input by another operation.
    void run(Op op) {
        (backend == null ? new ReferenceOps() : backend).run(op);
    }

    Tensor indices(int bound, long n) {
        return of(DType.I32, _ -> random.nextInt(bound), n);
    }

    Tensor permutation(int n) {
        int[] order = new int[n];
        for (int i = 0; i < n; i++) {
            int j = random.nextInt(i + 1);
            order[i] = order[j];
            order[j] = i;
        }
        return of(DType.I32, i -> order[(int) i], n);
    }

    /// An output full of NaN or 0xff between two guards.
    Tensor out(DType type, long... dims) {
        double junk = type == DType.F32 || type == DType.F64 ? Double.NaN : 111;
        return written(type, _ -> junk, dims);
    }

    Tensor out(long... dims) {
        return out(DType.F32, dims);
    }

    /// A tensor that the operation changes, between two guards.
    Tensor written(DType type, LongToDoubleFunction value, long... dims) {
        guard();
        Tensor t = of(type, value, dims);
        guard();
        outputs.add(t);
        return t;
    }

    private void guard() {
        if (backend == null) {
            return;
        }
        Tensor guard = arena.allocate(DType.U8, new Shape(GUARD_BYTES));
        MemorySegment bytes = Arena.ofAuto().allocate(GUARD_BYTES);
        bytes.fill(GUARD);
        backend.upload(guard, bytes);
        guards.add(guard);
    }

    void assertGuardsAreWhole() {
        for (Tensor guard : guards) {
            for (byte b : download(guard).toArray(ValueLayout.JAVA_BYTE)) {
                if (b != GUARD) {
                    throw new AssertionError("a guard beside an output was overwritten");
                }
            }
        }
    }

    Tensor onHost(Tensor t) {
        return new Tensor(new HostBuffer(download(t)), 0, t.dtype(), t.shape());
    }

    MemorySegment download(Tensor t) {
        MemorySegment host = Arena.ofAuto().allocate(Math.max(1, t.byteSize()), 64);
        host = host.asSlice(0, t.byteSize());
        if (backend == null) {
            return host.copyFrom(t.bytes());
        }
        backend.download(host, t);
        return host;
    }

    Weight dense(DType type, long out, long in) {
        return new Weight.Dense(normal(type, 1, out, in));
    }

    Weight.Grouped packed(
            Encoding.Grid<Codes.Ints> spec, DType scales, boolean groupIndex, long out, long in) {
        long groups = spec.tiles().across(in);
        Tensor codes = of(DType.I32, _ -> random.nextInt(), out, spec.codes().words(in));
        Tensor s = of(scales, _ -> 0.01 + 0.1 * random.nextDouble(), out, groups);
        Tensor z =
                of(
                        DType.U8,
                        _ ->
                                spec.codes().symmetric()
                                        ? spec.codes().middleCode()
                                        : random.nextInt(spec.codes().maxCode() + 1),
                        out,
                        groups);
        return new Weight.Grouped(
                spec, in, codes, s, z, groupIndex ? indices((int) groups, in) : null);
    }

    /// Random codes but for NaN's, with scales of both signs where they have one.
    ///
    /// @param type of scales that are plain floats
    Weight.Scaled scaled(Encoding.Grid<Codes.Floats> grid, DType type, long out, long in) {
        boolean halves = grid.codes().bits() == 4;
        byte[] codes = new byte[Math.toIntExact(grid.codes().type().bytesFor(out * in))];
        random.nextBytes(codes);
        for (int i = 0; i < codes.length; i++) {
            codes[i] = !halves && (codes[i] & 0x7f) == 0x7f ? (byte) (i % 9) : codes[i];
        }
        long[] tiles = {grid.tiles().down(out), grid.tiles().across(in)};
        Tensor held =
                of(
                        halves ? DType.U8 : DType.F8_E4M3,
                        i -> codes[(int) i],
                        out,
                        halves ? in / 2 : in);
        Tensor scales =
                switch (grid.scales()) {
                    case FLOAT -> normal(type, 0.01, tiles);
                    case POWER -> of(DType.U8, _ -> 120 + random.nextInt(8), tiles);
                    case NESTED -> of(DType.F8_E4M3, _ -> 1 + random.nextInt(0x7e), tiles);
                };
        Tensor global = grid.scales() == ScaleKind.NESTED ? of(DType.F32, _ -> 1700, 1) : null;
        return new Weight.Scaled(grid, held, scales, global);
    }

    /// Random blocks, whose scales are small floats of both signs, subnormal ones among them.
    Weight.Blocks q8(long out, long in) {
        byte[] bytes = new byte[Math.toIntExact(out * BlockType.Q8_0.rowBytes(in))];
        random.nextBytes(bytes);
        for (int at = 0; at < bytes.length; at += BlockType.Q8_0.bytes()) {
            double scale = at % 5 == 0 ? 0x1p-20 : 0.02;
            int half = Float.floatToFloat16((float) (scale * random.nextGaussian()));
            bytes[at] = (byte) half;
            bytes[at + 1] = (byte) (half >> 8);
            bytes[at + 2] = -128;
        }
        return new Weight.Blocks(
                BlockType.Q8_0,
                in,
                of(DType.U8, i -> bytes[(int) i], out, BlockType.Q8_0.rowBytes(in)));
    }

    /// Symmetric positive definite: `x^T x / n` of more rows than columns.
    Tensor gram(int n) {
        int rows = 2 * n + 3;
        double[] x = new double[rows * n];
        for (int i = 0; i < x.length; i++) {
            x[i] = random.nextGaussian();
        }
        double[] h = new double[n * n];
        for (int r = 0; r < rows; r++) {
            for (int i = 0; i < n; i++) {
                for (int j = 0; j < n; j++) {
                    h[i * n + j] += x[r * n + i] * x[r * n + j] / n;
                }
            }
        }
        return of(DType.F32, i -> h[(int) i], n, n);
    }

    /// An upper triangle with a diagonal of about 1.
    Tensor upper(int n) {
        return of(
                DType.F32,
                i -> {
                    double v = random.nextGaussian();
                    return i / n == i % n ? 1 + 0.1 * v : i / n < i % n ? 0.1 * v : 0;
                },
                n,
                n);
    }
}
