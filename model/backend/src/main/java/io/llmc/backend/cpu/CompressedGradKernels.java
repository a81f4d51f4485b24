// SPDX-License-Identifier: Apache-2.0
package io.llmc.backend.cpu;

import static io.llmc.backend.cpu.Lanes.F32;

import io.llmc.backend.CompressedOp;
import io.llmc.backend.CompressedOp.Sight;
import io.llmc.backend.GradientOp;
import io.llmc.backend.SparseOp.Keys;
import io.llmc.backend.cpu.CompressedKernels.Seen;
import io.llmc.backend.cpu.SparseKernels.Query;
import io.llmc.tensor.DType;
import io.llmc.tensor.Floats;
import io.llmc.tensor.Tensor;
import java.util.Arrays;
import java.util.List;

/// Gradients of keys of several tokens each and of attention to them, in F64.
final class CompressedGradKernels {
    private final Workers workers;

    CompressedGradKernels(Workers workers) {
        this.workers = workers;
    }

    /// Channel by channel, since places belong to all entries. With a the weights of an entry's
    /// tokens: `dx = a dout`, and the gate's is `a (x - out) dout`.
    void compress(GradientOp.AccumulateCompressGrad op) {
        int dim = Math.toIntExact(op.dout().cols());
        int rate = op.forward().rate();
        Keys.Whole tokens = (Keys.Whole) op.forward().tokens();
        workers.forEach(
                dim,
                (c, scratch) -> {
                    Channel channel = new Channel(op, c, scratch);
                    for (int row = 0; row < tokens.x().rows(); row++) {
                        int end = row % tokens.length() + 1;
                        if (end % rate == 0) {
                            channel.add(row, end > rate);
                        }
                    }
                    channel.writePlaces();
                });
    }

    /// One channel of all entries.
    private static final class Channel {
        private final GradientOp.AccumulateCompressGrad op;
        private final Tensor tokens;
        private final int channel;
        private final int cols;
        private final int rate;
        private final boolean overlaps;
        private final double[] weights;

        /// Of the first half's places, then of the second's.
        private final double[] places;

        Channel(GradientOp.AccumulateCompressGrad op, int channel, Scratch scratch) {
            this.op = op;
            this.tokens = ((Keys.Whole) op.forward().tokens()).x();
            this.channel = channel;
            this.cols = Math.toIntExact(op.forward().places().cols());
            this.rate = op.forward().rate();
            this.overlaps = cols > op.dout().cols();
            this.weights = scratch.doubles(0, 2 * rate);
            this.places = scratch.doubles(1, 2 * rate);
            Arrays.fill(places, 0, 2 * rate, 0);
        }

        /// Place i is that of an entry's own token from `rate` on, before that one of the entry
        /// before.
        private int column(int i) {
            return overlaps && i >= rate ? Math.toIntExact(op.dout().cols()) + channel : channel;
        }

        private long at(int row, int i, int from) {
            return 4 * ((row - 2L * rate + 1 + i) * 2 * cols + from + column(i));
        }

        /// @param row where the entry ends
        /// @param both whether there is an entry before
        void add(int row, boolean both) {
            int first = overlaps && both ? 0 : rate;
            double most = Double.NEGATIVE_INFINITY;
            for (int i = first; i < 2 * rate; i++) {
                weights[i] = tokens.bytes().get(F32, at(row, i, cols)) + place(i);
                most = Math.max(most, weights[i]);
            }
            double sum = 0;
            double mean = 0;
            for (int i = first; i < 2 * rate; i++) {
                weights[i] = StrictMath.exp(weights[i] - most);
                sum += weights[i];
                mean += weights[i] * tokens.bytes().get(F32, at(row, i, 0));
            }
            mean /= sum;
            double d = op.dout().bytes().get(F32, 4 * (row * op.dout().cols() + channel));
            for (int i = first; i < 2 * rate; i++) {
                double share = weights[i] / sum * d;
                double gate = share * (tokens.bytes().get(F32, at(row, i, 0)) - mean);
                accumulate(op.dtokens(), at(row, i, 0), share);
                accumulate(op.dtokens(), at(row, i, cols), gate);
                places[i] += gate;
            }
        }

        private double place(int i) {
            Tensor all = op.forward().places();
            return Floats.get(all.bytes(), all.dtype(), (long) (i % rate) * cols + column(i));
        }

        void writePlaces() {
            for (int i = 0; i < 2 * rate && op.dplaces() != null; i++) {
                accumulate(op.dplaces(), 4L * (i % rate * cols + column(i)), places[i]);
            }
        }
    }

    private static void accumulate(Tensor sum, long at, double x) {
        sum.bytes().set(F32, at, (float) (sum.bytes().get(F32, at) + x));
    }

    /// Sequence by sequence, whose keys all of its queries add to.
    void attend(GradientOp.AccumulateCompressedAttentionGrad op) {
        CompressedOp.CompressedAttention forward = op.forward();
        Sight sight = forward.sight();
        Keys.Whole keys = (Keys.Whole) forward.keys();
        int sequences = Math.toIntExact(keys.x().rows() / keys.length());
        double[] sinks = new double[sequences * sight.heads()];
        List<Query> ofKeys = SparseKernels.queries(keys, 1, sight.dim());
        List<Query> ofEntries = SparseKernels.queries(forward.entries(), 1, sight.dim());
        workers.forEach(
                sequences,
                (s, scratch) -> {
                    Sums sums = new Sums(op, keys.length(), scratch);
                    for (int t = s * keys.length(); t < (s + 1) * keys.length(); t++) {
                        Seen seen = Seen.of(forward, ofKeys.get(t), ofEntries.get(t), scratch);
                        sums.add(t, seen, sinks, s * sight.heads());
                    }
                    sums.write(s);
                });
        for (int i = 0; i < sinks.length && op.dsinks() != null; i++) {
            accumulate(op.dsinks(), 4L * (i % sight.heads()), sinks[i]);
        }
    }

    /// What the queries of one sequence add up.
    private static final class Sums {
        private final GradientOp.AccumulateCompressedAttentionGrad op;
        private final Sight sight;
        private final int length;
        private final Scratch scratch;
        private final float[] sinks;

        /// Of keys of tokens, then of entries.
        private final double[] keys;

        Sums(GradientOp.AccumulateCompressedAttentionGrad op, int length, Scratch scratch) {
            this.op = op;
            this.sight = op.forward().sight();
            this.length = length;
            this.scratch = scratch;
            sinks = scratch.floats(6, Lanes.padded(sight.heads()));
            Tensor all = op.forward().sinks();
            Lanes.read(sinks, 0, all.bytes(), DType.F32, 0, sight.heads());
            keys = scratch.doubles(1, 2 * length * sight.dim());
            Arrays.fill(keys, 0, 2 * length * sight.dim(), 0);
        }

        /// With p the probabilities and k the keys, which are values: `ds = p (dout . k - dout .
        /// out)`, `dq = scale ds k`, `dk = scale ds q + p dout`; a sink's score has no value.
        void add(int row, Seen seen, double[] dsinks, int at) {
            int dim = sight.dim();
            int width = sight.heads() * dim;
            float[] q = CompressedKernels.row(op.forward().q(), row, scratch.floats(0, width));
            float[] out = CompressedKernels.row(op.forward().out(), row, scratch.floats(4, width));
            float[] dout = CompressedKernels.row(op.dout(), row, scratch.floats(5, width));
            float[] key = scratch.floats(3, Lanes.padded(dim));
            double[] p = scratch.doubles(0, sight.heads() * seen.count());
            CompressedKernels.scores(sight, seen, q, p, scratch);
            double[] dq = scratch.doubles(2, width);
            Arrays.fill(dq, 0, width, 0);
            double[] cross = scratch.doubles(3, sight.heads());
            for (int h = 0; h < sight.heads(); h++) {
                CompressedKernels.soften(p, h * seen.count(), seen.count(), sinks[h]);
                double kept = 0;
                for (int i = h * seen.count(); i < (h + 1) * seen.count(); i++) {
                    kept += p[i];
                }
                cross[h] = 0;
                for (int c = h * dim; c < (h + 1) * dim; c++) {
                    cross[h] += (double) dout[c] * out[c];
                }
                dsinks[at + h] -= (1 - kept) * cross[h];
            }
            for (int i = 0; i < seen.count(); i++) {
                seen.read(i, key);
                int sum = ((i < seen.windowed() ? 0 : length) + seen.places()[i]) * dim;
                for (int h = 0; h < sight.heads(); h++) {
                    double share = p[h * seen.count() + i];
                    double inner = CompressedKernels.dot(dout, h * dim, key, dim);
                    double ds = sight.scale() * share * (inner - cross[h]);
                    for (int c = 0; c < dim; c++) {
                        dq[h * dim + c] += ds * key[c];
                        keys[sum + c] += ds * q[h * dim + c] + share * dout[h * dim + c];
                    }
                }
            }
            for (int c = 0; c < width; c++) {
                accumulate(op.dq(), 4 * ((long) row * width + c), dq[c]);
            }
        }

        void write(int sequence) {
            int numbers = length * sight.dim();
            for (int i = 0; i < numbers; i++) {
                accumulate(op.dkeys(), 4 * ((long) sequence * numbers + i), keys[i]);
                accumulate(op.dentries(), 4 * ((long) sequence * numbers + i), keys[numbers + i]);
            }
        }
    }
}
