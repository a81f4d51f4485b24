// SPDX-License-Identifier: Apache-2.0
package io.llmc.backend.cpu;

import static io.llmc.backend.cpu.Lanes.F;
import static io.llmc.backend.cpu.Lanes.N;

import io.llmc.backend.CompressionOp;
import io.llmc.tensor.Codes;
import io.llmc.tensor.DType;
import io.llmc.tensor.Encoding;
import java.lang.foreign.MemorySegment;
import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.VectorMask;
import jdk.incubator.vector.VectorOperators;

/// How the range of a group of weights becomes the scale and the zero point of integers.
///
/// @param type of scales and values
/// @param minZero the smallest zero point that files can hold
record GroupGrid(Encoding.Grid<Codes.Ints> spec, DType type, int minZero) {
    /// A range, of which `low[at]` becomes the zero point and `high[at]` the scale.
    void whole(float[] low, float[] high, int at) {
        float lo = low[at];
        float hi = high[at];
        if (spec.codes().symmetric()) {
            hi = hi < -lo ? -lo : hi;
            lo = -hi;
        }
        if (hi == lo) {
            lo = -1;
            hi = 1;
        }
        float scale = Lanes.round((hi - lo) / spec.codes().maxCode(), type);
        low[at] = zero(lo, scale);
        high[at] = scale;
    }

    private float zero(float low, float scale) {
        if (spec.codes().symmetric()) {
            return spec.codes().middleCode();
        }
        float zero = -low / scale;
        zero = zero > 0x1p20f ? 0x1p20f : zero;
        zero = zero < -0x1p20f ? -0x1p20f : zero;
        zero = zero + QuantKernels.INTEGERS - QuantKernels.INTEGERS;
        zero = zero < minZero ? minZero : zero;
        return zero > spec.codes().maxCode() ? spec.codes().maxCode() : zero;
    }

    /// How much errors of a row's weights count.
    ///
    /// @param each of every weight; null where those of a group count together
    /// @param together F32 `[in, width]`, symmetric matrices of groups below each other
    /// @param first weight of the group
    record Importance(float[] each, MemorySegment together, int width, int first) {
        Importance from(int weight) {
            return new Importance(each, together, width, weight);
        }

        /// Copies the first `n` elements of rows `[row, row + count)` of the group's matrix.
        private void copy(float[] to, int row, int count, int n) {
            for (int r = 0; r < count; r++) {
                long at = 4L * (first + row + r) * width;
                MemorySegment.copy(together, Lanes.F32, at, to, r * n, n);
            }
        }
    }

    /// Rows of a matrix that are read at once.
    static final int STRIP = 4;

    /// To work in.
    ///
    /// @param values as long as x
    /// @param strip [#STRIP] rows of a group's matrix
    /// @param sums one of each of its rows, and their own
    record Room(float[] values, float[] strip, float[] sums) {}

    /// Scale and zero point of `x[0, n)` with the least error, `N` rows along the lanes.
    void search(
            float[] scales,
            float[] zeros,
            float[] x,
            int n,
            Importance importance,
            Room room,
            CompressionOp.GridSearch search) {
        FloatVector lo = FloatVector.zero(F);
        FloatVector hi = lo;
        for (int i = 0; i < n; i++) {
            FloatVector v = FloatVector.fromArray(F, x, i * N);
            lo = lo.blend(v, v.compare(VectorOperators.LT, lo));
            hi = hi.blend(v, v.compare(VectorOperators.GT, hi));
        }
        Range range = range(lo, hi);
        FloatVector least = FloatVector.broadcast(F, Float.POSITIVE_INFINITY);
        for (int f = 0; f < search.trials(spec.codes()); f++) {
            FloatVector scale = scale(range, search.factor(f));
            FloatVector zero = zero(range.low.mul(search.factor(f)), scale);
            FloatVector error = error(x, n, importance, scale, zero, room, search.norm());
            VectorMask<Float> better = error.compare(VectorOperators.LT, least);
            if (f == 0) {
                better = F.maskAll(true); // also where the error is not a number
            }
            scale.intoArray(scales, 0, better);
            zero.intoArray(zeros, 0, better);
            least = least.blend(error, better);
        }
    }

    private record Range(FloatVector low, FloatVector high) {}

    /// Around zero for symmetric codes; one of nothing but zeros is given some width.
    private Range range(FloatVector lo, FloatVector hi) {
        FloatVector low = lo;
        FloatVector high = hi;
        if (spec.codes().symmetric()) {
            high = high.blend(low.neg(), high.compare(VectorOperators.LT, low.neg()));
            low = high.neg();
        }
        VectorMask<Float> empty = high.compare(VectorOperators.EQ, low);
        return new Range(low.blend(-1f, empty), high.blend(1f, empty));
    }

    private FloatVector scale(Range range, float factor) {
        FloatVector width = range.high.mul(factor).sub(range.low.mul(factor));
        return Lanes.round(width.div(spec.codes().maxCode()), type);
    }

    private FloatVector zero(FloatVector low, FloatVector scale) {
        if (spec.codes().symmetric()) {
            return FloatVector.broadcast(F, spec.codes().middleCode());
        }
        FloatVector zero = QuantKernels.rounded(low.neg().div(scale));
        zero = zero.blend(minZero, zero.compare(VectorOperators.LT, minZero));
        return zero.blend(
                spec.codes().maxCode(), zero.compare(VectorOperators.GT, spec.codes().maxCode()));
    }

    /// Sums over rows of what rounding to a scale takes from them.
    private FloatVector error(
            float[] x,
            int n,
            Importance importance,
            FloatVector scale,
            FloatVector zero,
            Room room,
            float norm) {
        float[] values = room.values;
        round(values, x, n, scale, zero);
        if (importance.each == null) {
            subtract(values, x, n);
            return form(values, n, importance, room);
        }
        return norm == 2
                ? squares(x, values, n, importance.each, importance.first)
                : powers(x, values, n, importance.each, importance.first, norm);
    }

    /// `sum_ij d_i h_ij d_j`: what is below the diagonal counts twice, a row after the other.
    private static FloatVector form(float[] d, int n, Importance h, Room room) {
        float[] sums = room.sums;
        FloatVector.zero(F).intoArray(sums, STRIP * N);
        for (int i = 0; i < n; i += STRIP) {
            int count = Math.min(STRIP, n - i);
            int columns = i + count;
            h.copy(room.strip, i, count, columns);
            if (count == STRIP) {
                strip(sums, d, i, room.strip, columns);
            } else {
                FloatVector.zero(F).intoArray(sums, 0);
                FloatVector.zero(F).intoArray(sums, N);
                FloatVector.zero(F).intoArray(sums, 2 * N);
            }
            for (int r = 0; r < count; r++) {
                row(sums, d, i, r, room.strip, columns, count == STRIP ? i : 0);
            }
        }
        return FloatVector.fromArray(F, sums, STRIP * N);
    }

    /// `sums[r] = sum_j h[r,j] d[j]` over `[0, n)` for four rows at once.
    private static void strip(float[] sums, float[] d, int n, float[] h, int columns) {
        FloatVector a = FloatVector.zero(F);
        FloatVector b = a;
        FloatVector c = a;
        FloatVector e = a;
        for (int j = 0; j < n; j++) {
            FloatVector x = FloatVector.fromArray(F, d, j * N);
            a = x.fma(FloatVector.broadcast(F, h[j]), a);
            b = x.fma(FloatVector.broadcast(F, h[columns + j]), b);
            c = x.fma(FloatVector.broadcast(F, h[2 * columns + j]), c);
            e = x.fma(FloatVector.broadcast(F, h[3 * columns + j]), e);
        }
        a.intoArray(sums, 0);
        b.intoArray(sums, N);
        c.intoArray(sums, 2 * N);
        e.intoArray(sums, 3 * N);
    }

    /// The rest of a row's sum, and what the row adds to the form.
    private static void row(
            float[] sums, float[] d, int first, int r, float[] h, int columns, int from) {
        FloatVector sum = FloatVector.fromArray(F, sums, r * N);
        for (int j = from; j < first + r; j++) {
            FloatVector x = FloatVector.fromArray(F, d, j * N);
            sum = x.fma(FloatVector.broadcast(F, h[r * columns + j]), sum);
        }
        FloatVector own = FloatVector.fromArray(F, d, (first + r) * N);
        FloatVector diagonal = FloatVector.broadcast(F, h[r * columns + first + r]);
        sum = own.fma(diagonal, sum.add(sum));
        FloatVector form = FloatVector.fromArray(F, sums, STRIP * N);
        own.fma(sum, form).intoArray(sums, STRIP * N);
    }

    // A loop each: the compiler stops inlining where one has more than some twenty operations, and
    // vectors that are handed to a method are objects.

    /// `values = scale * code`, not yet of the type of values.
    private void round(float[] values, float[] x, int n, FloatVector scale, FloatVector zero) {
        FloatVector low = zero.neg();
        FloatVector high = low.add(spec.codes().maxCode());
        for (int i = 0; i < n * N; i += N) {
            FloatVector w = FloatVector.fromArray(F, x, i);
            FloatVector code = QuantKernels.within(w.div(scale), low, high);
            code = code.add(QuantKernels.INTEGERS).sub(QuantKernels.INTEGERS);
            code.mul(scale).intoArray(values, i);
        }
    }

    /// `values = x - values`, these rounded to their type.
    private void subtract(float[] values, float[] x, int n) {
        for (int i = 0; i < n * N; i += N) {
            FloatVector v = Lanes.round(FloatVector.fromArray(F, values, i), type);
            FloatVector.fromArray(F, x, i).sub(v).intoArray(values, i);
        }
    }

    private FloatVector squares(float[] x, float[] values, int n, float[] importance, int first) {
        FloatVector sum = FloatVector.zero(F);
        for (int i = 0; i < n; i++) {
            FloatVector v = Lanes.round(FloatVector.fromArray(F, values, i * N), type);
            FloatVector d = FloatVector.fromArray(F, x, i * N).sub(v);
            sum = d.mul(importance[first + i]).fma(d, sum);
        }
        return sum;
    }

    private FloatVector powers(
            float[] x, float[] values, int n, float[] importance, int first, float norm) {
        FloatVector sum = FloatVector.zero(F);
        for (int i = 0; i < n; i++) {
            FloatVector v = Lanes.round(FloatVector.fromArray(F, values, i * N), type);
            FloatVector d = FloatVector.fromArray(F, x, i * N).sub(v);
            FloatVector c = FloatVector.broadcast(F, importance[first + i]);
            sum = d.abs().lanewise(VectorOperators.POW, norm).fma(c, sum);
        }
        return sum;
    }
}
