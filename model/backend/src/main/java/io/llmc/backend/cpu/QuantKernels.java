// SPDX-License-Identifier: Apache-2.0
package io.llmc.backend.cpu;

import static io.llmc.backend.cpu.Lanes.F;
import static io.llmc.backend.cpu.Lanes.F32;
import static io.llmc.backend.cpu.Lanes.I32;
import static io.llmc.backend.cpu.Lanes.N;

import io.llmc.backend.CompressionOp;
import io.llmc.tensor.Codes;
import io.llmc.tensor.DType;
import io.llmc.tensor.Encoding;
import io.llmc.tensor.Tensor;
import io.llmc.tensor.Weight;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.lang.invoke.MethodHandles;
import java.lang.invoke.VarHandle;
import java.nio.ByteOrder;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.VectorOperators;

/// Grids and codes. Divisions are IEEE's: a reciprocal would move codes at ties.
final class QuantKernels {
    private static final ValueLayout.OfDouble F64 =
            ValueLayout.JAVA_DOUBLE_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);

    /// Between 2^23 and 2^24 a float's last place is 1: adding this makes an integer of a number
    /// below 2^22.
    static final float INTEGERS = 12582912f;

    /// Slots of a worker's floats: a row of weights, the codes and then the values that it gets,
    /// the scale of every weight, of every group, and the lowest integers of both.
    static final int X = 0;

    static final int Q = 1;
    static final int SCALE = 2;
    static final int EACH = 3;
    private static final int LOW = 4;
    private static final int LOWEST = 5;

    private static final VarHandle OCTETS =
            MethodHandles.byteArrayViewVarHandle(long[].class, ByteOrder.LITTLE_ENDIAN);

    private final Workers workers;

    QuantKernels(Workers workers) {
        this.workers = workers;
    }

    void chooseGrid(CompressionOp.ChooseGrid op) {
        var grid = new GroupGrid(op.spec(), op.scales().dtype(), op.minZero());
        if (op.search() == null) {
            spanGroups(op.scales(), op.zeros(), op.w(), grid, op.from(), op.to());
        } else {
            searchGroups(op, grid);
        }
    }

    /// The range of every group as it is, row by row: the least and the largest of numbers have no
    /// order.
    private void spanGroups(
            Tensor scales, Tensor zeros, Tensor w, GroupGrid grid, int from, int to) {
        int in = Math.toIntExact(w.cols());
        int length = Math.toIntExact(grid.spec().tiles().width(in));
        long groups = grid.spec().tiles().across(in);
        int first = from * length;
        int n = Math.min(in, to * length) - first;
        int count = to - from;
        boolean even = grid.spec().codes().symmetric();
        MemorySegment ws = w.bytes();
        MemorySegment scaleBytes = scales.bytes();
        MemorySegment zeroBytes = zeros.bytes();
        workers.forEach(
                Math.toIntExact(w.rows()),
                (r, scratch) -> {
                    float[] x = scratch.floats(1, n);
                    float[] low = scratch.floats(2, count);
                    float[] high = scratch.floats(3, count);
                    byte[] row = scratch.octets(count);
                    Loops.read(x, ws, w.dtype(), (long) r * in + first, n, scratch);
                    int[] bits = scratch.words(n);
                    Loops.bits(bits, x, n);
                    for (int g = 0; g < count; g++) {
                        int at = g * length;
                        int end = Math.min(n, at + length);
                        Loops.span(low, high, g, x, bits, at, end, even);
                        grid.whole(low, high, g);
                        row[g] = (byte) low[g];
                    }
                    long at = r * groups + from;
                    Lanes.write(scaleBytes, scales.dtype(), at, high, 0, count);
                    MemorySegment.copy(row, 0, zeroBytes, ValueLayout.JAVA_BYTE, at, count);
                });
    }

    /// A tile is one lane a row: sums run along a row in its order, in every vector width.
    private void searchGroups(CompressionOp.ChooseGrid op, GroupGrid grid) {
        int in = Math.toIntExact(op.w().cols());
        int length = Math.toIntExact(Math.min(in, grid.spec().tiles().width(in)));
        long groups = grid.spec().tiles().across(in);
        int outs = Math.toIntExact(op.w().rows());
        DType type = op.scales().dtype();
        GroupGrid.Importance counts = importance(op, in, length);
        MemorySegment scaleBytes = op.scales().bytes();
        MemorySegment zeroBytes = op.zeros().bytes();
        Operand rows = Operand.of(op.w());
        workers.forEach(
                Math.ceilDiv(outs, N),
                (tile, scratch) -> {
                    int count = Math.min(N, outs - tile * N);
                    float[] x = scratch.floats(1, length * N);
                    float[] zero = scratch.floats(2, N);
                    float[] scale = scratch.floats(3, N);
                    var room =
                            new GroupGrid.Room(
                                    scratch.floats(4, length * N),
                                    scratch.floats(5, GroupGrid.STRIP * length),
                                    scratch.floats(6, (GroupGrid.STRIP + 1) * N));
                    for (int g = op.from(); g < op.to(); g++) {
                        int n = Math.min(length, in - g * length);
                        rows.pack(x, 0, N, tile * N, count, g * length, n, scratch);
                        grid.search(scale, zero, x, n, counts.from(g * length), room, op.search());
                        for (int i = 0; i < count; i++) {
                            long at = (tile * N + i) * groups + g;
                            Lanes.write(scaleBytes, type, at, scale, i, 1);
                            zeroBytes.set(ValueLayout.JAVA_BYTE, at, (byte) zero[i]);
                        }
                    }
                });
    }

    private static GroupGrid.Importance importance(CompressionOp.ChooseGrid op, int in, int width) {
        if (op.together()) {
            return new GroupGrid.Importance(null, op.importance().bytes(), width, 0);
        }
        float[] each = new float[in];
        if (op.importance() == null) {
            Arrays.fill(each, 1);
        } else {
            Lanes.read(each, 0, op.importance().bytes(), DType.F32, 0, in);
        }
        return new GroupGrid.Importance(each, null, width, 0);
    }

    /// `clamp(round(w / scale) + zero, 0, max)`, 0 for NaN
    static FloatVector code(FloatVector w, FloatVector scale, FloatVector zero, int max) {
        FloatVector q = rounded(w.div(scale)).add(zero);
        q = q.blend(max, q.compare(VectorOperators.GT, max));
        return FloatVector.zero(F).blend(q, q.compare(VectorOperators.GT, 0f));
    }

    /// `round((code - zero) * scale)`
    static FloatVector value(FloatVector code, FloatVector scale, FloatVector zero, DType type) {
        return Lanes.round(code.sub(zero).mul(scale), type);
    }

    /// Half to even; beyond 2^20 some number beyond 2^20.
    static FloatVector rounded(FloatVector x) {
        FloatVector y = x.blend(0x1p20f, x.compare(VectorOperators.GT, 0x1p20f));
        y = y.blend(-0x1p20f, y.compare(VectorOperators.LT, -0x1p20f));
        return y.add(INTEGERS).sub(INTEGERS);
    }

    void roundToGrid(
            Tensor codes,
            Tensor squares,
            Tensor w,
            Tensor scales,
            Tensor zeros,
            Encoding.Grid<Codes.Ints> spec) {
        int in = Math.toIntExact(w.cols());
        int groups = Math.toIntExact(scales.cols());
        int length = Math.toIntExact(spec.tiles().width(in));
        DType type = scales.dtype();
        MemorySegment codeBytes = codes.bytes();
        MemorySegment ws = w.bytes();
        MemorySegment scaleBytes = scales.bytes();
        MemorySegment zeroBytes = zeros.bytes();
        List<Workers.Body> parts = new ArrayList<>();
        parts.add((r, s) -> Loops.read(s.floats(X, in), ws, w.dtype(), (long) r * in, in, s));
        parts.add((r, s) -> {
            float[] each = s.floats(EACH, groups);
            Loops.read(each, scaleBytes, type, (long) r * groups, groups, s);
            Loops.spread(s.floats(SCALE, in), each, length, in);
        });
        parts.add((r, s) -> {
            byte[] zero = s.octets(Math.max(in, groups));
            long from = (long) r * groups;
            MemorySegment.copy(zeroBytes, ValueLayout.JAVA_BYTE, from, zero, 0, groups);
            float[] lowest = s.floats(LOWEST, groups);
            for (int g = 0; g < groups; g++) {
                lowest[g] = -(zero[g] & 0xff);
            }
            Loops.spread(s.floats(LOW, in), lowest, length, in);
        });
        parts.add((_, s) -> {
            float[] q = s.floats(Q, in);
            float[] low = s.floats(LOW, in);
            int most = spec.codes().maxCode();
            Loops.integers(q, s.floats(X, in), s.floats(SCALE, in), low, most, in);
            if (Loops.odd(s.floats(EACH, groups), groups)) {
                lowest(q, low, in);
            }
        });
        parts.add((r, s) -> {
            byte[] row = s.octets(in);
            Loops.codes(row, s.floats(Q, in), s.floats(LOW, in), in);
            MemorySegment.copy(row, 0, codeBytes, ValueLayout.JAVA_BYTE, (long) r * in, in);
        });
        if (squares != null) {
            parts.addAll(losses(squares, in, type));
        }
        workers.forEach(Math.toIntExact(w.rows()), Workers.inTurn(parts));
    }

    /// The squares of what rounding took from a row, and of the row.
    ///
    /// @param type that values are rounded to
    static List<Workers.Body> losses(Tensor squares, int in, DType type) {
        MemorySegment bytes = squares.bytes();
        return List.of(
                (_, s) -> Loops.multiply(s.floats(Q, in), s.floats(SCALE, in), in),
                (_, s) -> Loops.round(s.floats(Q, in), in, type, s),
                (_, s) -> Loops.subtractFrom(s.floats(Q, in), s.floats(X, in), in),
                (r, s) -> {
                    double[] sums = s.doubles(0, 2);
                    Loops.squares(sums, s.floats(Q, in), s.floats(X, in), in, s);
                    bytes.set(F64, 16L * r, sums[0]);
                    bytes.set(F64, 16L * r + 8, sums[1]);
                });
    }

    /// What a scale of zero or beyond all numbers makes no number of has the lowest code.
    private static void lowest(float[] q, float[] low, int n) {
        for (int i = 0; i < n; i++) {
            if (Float.isNaN(q[i])) {
                q[i] = low[i];
            }
        }
    }

    /// The nearest numbers between two others; the lower one for what is no number.
    static FloatVector within(FloatVector x, FloatVector low, FloatVector high) {
        FloatVector y = low.blend(x, x.compare(VectorOperators.GT, low));
        return y.blend(high, y.compare(VectorOperators.GT, high));
    }

    void packCodes(Tensor out, Tensor codes, int bits) {
        int in = Math.toIntExact(codes.cols());
        if (out.dtype() == DType.U8) {
            packHalves(out, codes, in);
            return;
        }
        int words = Math.toIntExact(out.cols());
        MemorySegment outs = out.bytes();
        MemorySegment cs = codes.bytes();
        workers.forEach(
                Math.toIntExact(codes.rows()),
                (r, scratch) -> {
                    byte[] row = scratch.octets(in);
                    int[] packed = scratch.words(words);
                    MemorySegment.copy(cs, ValueLayout.JAVA_BYTE, (long) r * in, row, 0, in);
                    pack(packed, row, in, bits);
                    MemorySegment.copy(packed, 0, outs, I32, 4L * r * words, words);
                });
    }

    private void packHalves(Tensor out, Tensor codes, int in) {
        MemorySegment outs = out.bytes();
        MemorySegment cs = codes.bytes();
        workers.forEach(
                Math.toIntExact(codes.rows()),
                (r, scratch) -> {
                    byte[] row = scratch.octets(in);
                    MemorySegment.copy(cs, ValueLayout.JAVA_BYTE, (long) r * in, row, 0, in);
                    for (int i = 0; i < in; i += 2) {
                        row[i / 2] = (byte) (row[i] & 15 | row[i + 1] << 4);
                    }
                    long to = (long) r * in / 2;
                    MemorySegment.copy(row, 0, outs, ValueLayout.JAVA_BYTE, to, in / 2);
                });
    }

    private static void pack(int[] words, byte[] codes, int n, int bits) {
        int i = 0;
        int at = 0;
        for (; bits == 4 && i <= n - 8; i += 8) {
            words[at++] = nibbles((long) OCTETS.get(codes, i));
        }
        long window = 0;
        int filled = 0;
        for (; i < n; i++) {
            window |= (codes[i] & 0xffL) << filled;
            filled += bits;
            if (filled >= 32) {
                words[at++] = (int) window;
                window >>>= 32;
                filled -= 32;
            }
        }
        if (filled > 0) {
            words[at] = (int) window;
        }
    }

    /// Eight codes of four bits, of an octet each.
    private static int nibbles(long octets) {
        long x = (octets | octets >>> 4) & 0x00ff_00ff_00ff_00ffL;
        x = (x | x >>> 8) & 0x0000_ffff_0000_ffffL;
        return (int) (x | x >>> 16);
    }

    void dequantize(Tensor out, Weight w) {
        int in = Math.toIntExact(w.inFeatures());
        MemorySegment outs = out.bytes();
        Operand rows = Operand.of(w);
        workers.forEach(
                Math.toIntExact(w.outFeatures()),
                (r, scratch) -> {
                    float[] row = scratch.floats(0, Lanes.padded(in));
                    rows.read(row, 0, r, 0, in, scratch);
                    MemorySegment.copy(row, 0, outs, F32, 4L * r * in, in);
                });
    }
}
