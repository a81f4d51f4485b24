// SPDX-License-Identifier: Apache-2.0
package io.llmc.backend.cpu;

import static io.llmc.backend.cpu.Lanes.F;
import static io.llmc.backend.cpu.Lanes.N;

import io.llmc.backend.RecurrentOp.Run;
import io.llmc.backend.RecurrentOp.SelectiveScan;
import io.llmc.tensor.DType;
import io.llmc.tensor.Tensor;
import java.util.Arrays;
import jdk.incubator.vector.FloatVector;

/// [SelectiveScan]. Channels know nothing of each other: a tile is some neighbouring ones of one
/// sequence, whose states and rates stay in the first cache while it goes through the rows.
///
/// Nearly all of its time goes into exponentials, one for each number of a state and row.
final class SelectiveScanKernel {
    /// Channels of a tile: whole vectors on every CPU.
    private static final int WIDE = 64;

    private final Workers workers;

    SelectiveScanKernel(Workers workers) {
        this.workers = workers;
    }

    void run(SelectiveScan op) {
        int panels = Math.ceilDiv((int) op.out().cols(), WIDE);
        workers.forEach(
                Math.multiplyExact(op.runs().size(), panels),
                (tile, scratch) ->
                        run(op, op.runs().get(tile / panels), tile % panels * WIDE, scratch));
    }

    private static void run(SelectiveScan op, Run run, int from, Scratch scratch) {
        int width = (int) Math.min(WIDE, op.out().cols() - from);
        int states = (int) op.b().cols();
        float[] state = scratch.floats(0, states * WIDE);
        read(state, run.begin(), from, width, states);
        float[] rates = rates(op.rate(), from, width, scratch);
        float[] skip = scratch.floats(3, WIDE);
        Lanes.read(skip, 0, op.skip().bytes(), op.skip().dtype(), from, width);
        float[] x = scratch.floats(4, WIDE);
        float[] dt = scratch.floats(5, WIDE);
        float[] b = scratch.floats(6, states);
        float[] c = scratch.floats(7, states);
        for (long row = run.row(); row < run.row() + run.length(); row++) {
            read(x, op.x(), row, from, width);
            read(dt, op.step(), row, from, width);
            read(b, op.b(), row, 0, states);
            read(c, op.c(), row, 0, states);
            for (int i = 0; i < width; i += N) {
                step(state, rates, x, dt, b, c, states, i, FloatVector.fromArray(F, skip, i));
            }
            Lanes.write(op.out().bytes(), DType.F32, row * op.out().cols() + from, x, 0, width);
        }
        if (run.end() != null) {
            for (int n = 0; n < states; n++) {
                long to = n * run.end().cols() + from;
                Lanes.write(run.end().bytes(), DType.F32, to, state, n * WIDE, width);
            }
        }
    }

    /// One vector of channels through one row.
    ///
    /// @param x overwritten by what comes out
    private static void step(
            float[] state,
            float[] rates,
            float[] x,
            float[] dt,
            float[] b,
            float[] c,
            int states,
            int i,
            FloatVector skip) {
        FloatVector xi = FloatVector.fromArray(F, x, i);
        FloatVector di = Exp.softplus(FloatVector.fromArray(F, dt, i));
        FloatVector fresh = di.mul(xi);
        FloatVector out = skip.mul(xi);
        for (int n = 0; n < states; n++) {
            int at = n * WIDE + i;
            FloatVector kept = Exp.exp(FloatVector.fromArray(F, rates, at).mul(di));
            FloatVector s = FloatVector.fromArray(F, state, at).mul(kept).add(fresh.mul(b[n]));
            s.intoArray(state, at);
            out = s.mul(c[n]).add(out);
        }
        out.intoArray(x, i);
    }

    /// `-exp(rate)` of some channels, `[states, WIDE]`.
    private static float[] rates(Tensor rate, int from, int width, Scratch scratch) {
        int states = (int) rate.cols();
        float[] all = scratch.floats(1, Lanes.padded((long) width * states));
        Lanes.read(all, 0, rate.bytes(), rate.dtype(), (long) from * states, width * states);
        float[] rates = scratch.floats(2, states * WIDE);
        Arrays.fill(rates, 0, states * WIDE, 0);
        for (int i = 0; i < width * states; i += N) {
            Exp.exp(FloatVector.fromArray(F, all, i)).neg().intoArray(all, i);
        }
        for (int i = 0; i < width; i++) {
            for (int n = 0; n < states; n++) {
                rates[n * WIDE + i] = all[i * states + n];
            }
        }
        return rates;
    }

    private static void read(float[] state, Tensor begin, int from, int width, int states) {
        Arrays.fill(state, 0, states * WIDE, 0);
        for (int n = 0; n < states && begin != null; n++) {
            read(state, n * WIDE, begin, n, from, width);
        }
    }

    private static void read(float[] to, Tensor x, long row, int from, int width) {
        read(to, 0, x, row, from, width);
    }

    private static void read(float[] to, int at, Tensor x, long row, int from, int width) {
        Lanes.read(to, at, x.bytes(), DType.F32, row * x.cols() + from, width);
    }
}
