// SPDX-License-Identifier: Apache-2.0
package io.llmc.backend.cpu;

import static io.llmc.backend.cpu.Lanes.F;
import static io.llmc.backend.cpu.Lanes.N;
import static io.llmc.backend.cpu.QuantKernels.EACH;
import static io.llmc.backend.cpu.QuantKernels.Q;
import static io.llmc.backend.cpu.QuantKernels.SCALE;
import static io.llmc.backend.cpu.QuantKernels.X;

import io.llmc.backend.CompressionOp;
import io.llmc.backend.SmallFloatOp;
import io.llmc.tensor.Codes;
import io.llmc.tensor.DType;
import io.llmc.tensor.Encoding;
import io.llmc.tensor.Floats;
import io.llmc.tensor.ScaleKind;
import io.llmc.tensor.Tensor;
import io.llmc.tensor.Tiles;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.VectorOperators;

/// Weights on grids of small floats. Divisions are IEEE's: a reciprocal would move codes at ties.
final class FloatGridKernels {
    private final Workers workers;

    FloatGridKernels(Workers workers) {
        this.workers = workers;
    }

    /// Row by row, so that one tile of a whole matrix has all workers, too.
    void tileMaxima(Tensor out, Tensor w, Tiles tiles) {
        int in = Math.toIntExact(w.cols());
        int width = Math.toIntExact(Math.min(in, tiles.width(in)));
        int across = Math.toIntExact(out.cols());
        long height = tiles.height(w.rows());
        MemorySegment ws = w.bytes();
        float[] most = new float[Math.toIntExact(w.rows() * across)];
        workers.forEach(
                Math.toIntExact(w.rows()),
                (r, scratch) -> {
                    float[] x = scratch.floats(0, in);
                    Loops.read(x, ws, w.dtype(), (long) r * in, in, scratch);
                    int[] bits = scratch.words(in);
                    Loops.bits(bits, x, in);
                    for (int t = 0; t < across; t++) {
                        int from = t * width;
                        int to = Math.min(in, from + width);
                        most[r * across + t] = Loops.largest(bits, from, to);
                    }
                });
        float[] all = new float[Math.toIntExact(out.rows() * across)];
        for (int i = 0; i < most.length; i++) {
            int tile = (int) (i / across / height * across) + i % across;
            all[tile] = Math.max(all[tile], most[i]);
        }
        Lanes.write(out.bytes(), DType.F32, 0, all, 0, all.length);
    }

    void chooseScales(SmallFloatOp.ChooseScales op) {
        Choice choice = Choice.of(op);
        int across = Math.toIntExact(op.maxima().cols());
        if (op.search() != null) {
            search(op, choice, across);
            return;
        }
        workers.forEach(
                Math.toIntExact(op.maxima().rows()),
                (r, scratch) -> {
                    float[] most = scratch.floats(0, across);
                    Lanes.read(most, 0, op.maxima().bytes(), DType.F32, (long) r * across, across);
                    for (int t = 0; t < across; t++) {
                        choice.store((long) r * across + t, choice.stored(most[t]));
                    }
                });
    }

    /// A row is a lane: sums run along a row in its order, in every vector width.
    private void search(SmallFloatOp.ChooseScales op, Choice choice, int across) {
        Tensor w = op.w();
        int in = Math.toIntExact(w.cols());
        int length = Math.toIntExact(Math.min(in, op.grid().tiles().width(in)));
        int outs = Math.toIntExact(w.rows());
        float[] weights = new float[in];
        if (op.importance() == null) {
            Arrays.fill(weights, 1);
        } else {
            Lanes.read(weights, 0, op.importance().bytes(), DType.F32, 0, in);
        }
        Operand rows = Operand.of(w);
        MemorySegment maxima = op.maxima().bytes();
        workers.forEach(
                Math.ceilDiv(outs, N),
                (tile, scratch) -> {
                    int count = Math.min(N, outs - tile * N);
                    float[] x = scratch.floats(1, length * N);
                    float[] most = scratch.floats(2, N);
                    float[] best = scratch.floats(3, N);
                    for (int g = 0; g < across; g++) {
                        int n = Math.min(length, in - g * length);
                        rows.pack(x, 0, N, tile * N, count, g * length, n, scratch);
                        Arrays.fill(most, 0, N, 1);
                        for (int i = 0; i < count; i++) {
                            long at = (long) (tile * N + i) * across + g;
                            most[i] = maxima.get(Lanes.F32, 4 * at);
                        }
                        choice.search(best, most, x, n, weights, g * length, op.search());
                        for (int i = 0; i < count; i++) {
                            choice.store((long) (tile * N + i) * across + g, best[i]);
                        }
                    }
                });
    }

    /// Scales by the rule of the grid.
    ///
    /// @param type what the quotient by the reach is rounded to
    /// @param values type of a weight's values
    private record Choice(
            Encoding.Grid<Codes.Floats> grid,
            DType type,
            DType values,
            float global,
            DType scaleType,
            MemorySegment scales) {
        static Choice of(SmallFloatOp.ChooseScales op) {
            DType values = SmallFloatOp.valueType(op.scales(), op.grid());
            boolean plain = op.grid().scales() == ScaleKind.FLOAT;
            return new Choice(
                    op.grid(),
                    plain ? values : op.type(),
                    values,
                    op.global() == null ? 1 : Floats.get(op.global().bytes(), DType.F32, 0),
                    op.scales().dtype(),
                    op.scales().bytes());
        }

        float stored(float largest) {
            return grid.scale(largest, type, global);
        }

        void store(long tile, float stored) {
            switch (grid.scales()) {
                case FLOAT -> Floats.set(scales, scaleType, tile, stored);
                case POWER ->
                        scales.set(
                                ValueLayout.JAVA_BYTE,
                                tile,
                                (byte) (Float.floatToRawIntBits(stored) >>> 23));
                case NESTED ->
                        scales.set(
                                ValueLayout.JAVA_BYTE, tile, (byte) Codes.Floats.E4M3.code(stored));
            }
        }

        /// The best stored scale of `x[0, n)`, `N` rows along the lanes.
        void search(
                float[] best,
                float[] most,
                float[] x,
                int n,
                float[] importance,
                int first,
                CompressionOp.GridSearch search) {
            float[] trial = new float[N];
            FloatVector least = FloatVector.broadcast(F, Float.POSITIVE_INFINITY);
            for (int f = 0; f < search.steps(); f++) {
                for (int i = 0; i < N; i++) {
                    trial[i] = stored(search.factor(f) * most[i]);
                }
                FloatVector stored = FloatVector.fromArray(F, trial, 0);
                FloatVector error =
                        error(x, n, importance, first, stored.div(global), search.norm());
                if (f == 0) {
                    stored.intoArray(best, 0); // also where the error is not a number
                    least = error;
                    continue;
                }
                var better = error.compare(VectorOperators.LT, least);
                FloatVector.fromArray(F, best, 0).blend(stored, better).intoArray(best, 0);
                least = least.blend(error, better);
            }
        }

        private FloatVector error(
                float[] x, int n, float[] importance, int first, FloatVector scale, float norm) {
            SmallFloats floats = SmallFloats.of(grid.codes());
            FloatVector sum = FloatVector.zero(F);
            for (int i = 0; i < n; i++) {
                FloatVector w = FloatVector.fromArray(F, x, i * N);
                FloatVector q = Lanes.round(floats.nearest(w.div(scale)).mul(scale), values);
                FloatVector d = w.sub(q);
                FloatVector c = FloatVector.broadcast(F, importance[first + i]);
                sum =
                        norm == 2
                                ? d.mul(c).fma(d, sum)
                                : d.abs().lanewise(VectorOperators.POW, norm).fma(c, sum);
            }
            return sum;
        }
    }

    void round(SmallFloatOp.RoundToFloats op) {
        Tensor w = op.w();
        int in = Math.toIntExact(w.cols());
        int width = Math.toIntExact(Math.min(in, op.grid().tiles().width(in)));
        long height = op.grid().tiles().height(w.rows());
        int across = Math.toIntExact(op.scales().cols());
        DType quotient = op.grid().scales() == ScaleKind.NESTED ? DType.F32 : w.dtype();
        DType value = SmallFloatOp.valueType(op.scales(), op.grid());
        CodeTable table = CodeTable.of(op.grid().codes());
        TileScales scales = new TileScales(op.scales(), op.global());
        MemorySegment codes = op.codes().bytes();
        MemorySegment ws = w.bytes();
        List<Workers.Body> parts = new ArrayList<>();
        parts.add((r, s) -> Loops.read(s.floats(X, in), ws, w.dtype(), (long) r * in, in, s));
        parts.add((r, s) -> {
            float[] each = s.floats(EACH, across);
            for (int t = 0; t < across; t++) {
                each[t] = scales.get(r / height * across + t);
            }
            Loops.spread(s.floats(SCALE, in), each, width, in);
        });
        parts.add(
                (_, s) -> Loops.divide(s.floats(Q, in), s.floats(X, in), s.floats(SCALE, in), in));
        parts.add((_, s) -> Loops.round(s.floats(Q, in), in, quotient, s));
        parts.add((r, s) -> {
            byte[] row = s.octets(in);
            table.codes(row, s.floats(Q, in), in, s);
            MemorySegment.copy(row, 0, codes, ValueLayout.JAVA_BYTE, (long) r * in, in);
        });
        if (op.squares() != null) {
            parts.add((_, s) -> {
                if (Loops.odd(s.floats(EACH, across), across)) {
                    table.valuesOfNumbers(s.floats(Q, in), s.octets(in), in);
                } else {
                    table.values(s.floats(Q, in), s.octets(in), in);
                }
            });
            parts.addAll(QuantKernels.losses(op.squares(), in, value));
        }
        workers.forEach(Math.toIntExact(w.rows()), Workers.inTurn(parts));
    }
}
