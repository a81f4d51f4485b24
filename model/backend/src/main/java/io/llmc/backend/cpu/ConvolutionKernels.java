// SPDX-License-Identifier: Apache-2.0
package io.llmc.backend.cpu;

import static io.llmc.backend.cpu.Lanes.F;
import static io.llmc.backend.cpu.Lanes.F32;
import static io.llmc.backend.cpu.Lanes.N;

import io.llmc.backend.ForwardOp;
import io.llmc.backend.GradientOp;
import io.llmc.backend.RecurrentOp;
import io.llmc.tensor.DType;
import io.llmc.tensor.Tensor;
import java.lang.foreign.MemorySegment;
import java.util.Arrays;
import java.util.List;
import java.util.stream.IntStream;
import jdk.incubator.vector.FloatVector;

/// Causal convolutions of each channel by itself. A tile is some rows of some channels; it reads
/// the rows before them, too.
final class ConvolutionKernels {
    private static final int ROWS = 64;
    private static final int CHANNELS = 256;

    private final Workers workers;

    ConvolutionKernels(Workers workers) {
        this.workers = workers;
    }

    /// Rows and channels of a tile.
    ///
    /// @param run whose rows they are
    /// @param from its first row, counted from the run's
    private record Tile(RecurrentOp.Run run, int from, int rows, long channel, int channels) {}

    private static List<Tile> tiles(List<RecurrentOp.Run> runs, long cols) {
        int across = Math.toIntExact(Math.ceilDiv(cols, (long) CHANNELS));
        return runs.stream()
                .flatMap(run ->
                        IntStream.range(0, Math.ceilDiv(run.length(), ROWS) * across)
                                .mapToObj(i -> {
                                    int from = i / across * ROWS;
                                    long channel = (long) (i % across) * CHANNELS;
                                    return new Tile(
                                            run,
                                            from,
                                            Math.min(ROWS, run.length() - from),
                                            channel,
                                            (int) Math.min(CHANNELS, cols - channel));
                                }))
                .toList();
    }

    void run(ForwardOp.Convolve op) {
        run(op, RecurrentOp.whole(op.x().rows(), op.length()));
    }

    void resume(RecurrentOp.ResumeConvolve op) {
        run(op.op(), op.runs());
        int rows = op.op().taps() - 1;
        long bytes = 4 * op.op().x().cols();
        MemorySegment x = op.op().x().bytes();
        // Only now: the rows that a state begins with may lie where it ends.
        for (RecurrentOp.Run run : op.runs()) {
            for (int r = 0; r < rows && run.end() != null; r++) {
                int t = run.length() - rows + r;
                MemorySegment to = run.end().bytes().asSlice(r * bytes, bytes);
                if (t >= 0) {
                    to.copyFrom(x.asSlice((run.row() + t) * bytes, bytes));
                } else if (run.begin() != null) {
                    to.copyFrom(run.begin().bytes().asSlice((rows + t) * bytes, bytes));
                } else {
                    to.fill((byte) 0);
                }
            }
        }
    }

    private void run(ForwardOp.Convolve op, List<RecurrentOp.Run> runs) {
        int taps = op.taps();
        long cols = op.x().cols();
        List<Tile> tiles = tiles(runs, cols);
        MemorySegment outs = op.out().bytes();
        workers.forEach(
                tiles.size(),
                (i, scratch) -> {
                    Tile tile = tiles.get(i);
                    int width = Lanes.padded(tile.channels());
                    float[] x = scratch.floats(0, (ROWS + taps - 1) * width);
                    float[] w = weights(op.weight(), tile, width, scratch);
                    float[] bias = scratch.floats(2, width);
                    float[] out = scratch.floats(3, width);
                    Arrays.fill(bias, 0, width, 0);
                    if (op.bias() != null) {
                        Lanes.read(
                                bias,
                                0,
                                op.bias().bytes(),
                                op.bias().dtype(),
                                tile.channel(),
                                tile.channels());
                    }
                    for (int r = 0; r < tile.rows() + taps - 1; r++) {
                        read(x, r * width, op.x(), tile, tile.from() + r - taps + 1, taps);
                    }
                    for (int r = 0; r < tile.rows(); r++) {
                        for (int c = 0; c < width; c += N) {
                            FloatVector sum = FloatVector.fromArray(F, bias, c);
                            for (int j = 0; j < taps; j++) {
                                sum =
                                        FloatVector.fromArray(F, x, (r + j) * width + c)
                                                .fma(
                                                        FloatVector.fromArray(F, w, j * width + c),
                                                        sum);
                            }
                            sum.intoArray(out, c);
                        }
                        long row = (long) tile.run().row() + tile.from() + r;
                        Lanes.write(
                                outs,
                                DType.F32,
                                row * cols + tile.channel(),
                                out,
                                0,
                                tile.channels());
                    }
                });
    }

    /// A tile's weights, `[taps, width]`.
    private static float[] weights(Tensor weight, Tile tile, int width, Scratch scratch) {
        int taps = Math.toIntExact(weight.cols());
        float[] stored = scratch.floats(4, tile.channels() * taps);
        Lanes.read(
                stored,
                0,
                weight.bytes(),
                weight.dtype(),
                tile.channel() * taps,
                tile.channels() * taps);
        float[] w = scratch.floats(1, taps * width);
        for (int c = 0; c < tile.channels(); c++) {
            for (int j = 0; j < taps; j++) {
                w[j * width + c] = stored[c * taps + j];
            }
        }
        return w;
    }

    /// A tile's channels of row t of its run: before the first one is the state, or zeros, behind
    /// the last one zeros.
    private static void read(float[] to, int at, Tensor x, Tile tile, int t, int taps) {
        long cols = x.cols();
        if (t >= 0 && t < tile.run().length()) {
            long from = (tile.run().row() + (long) t) * cols + tile.channel();
            Lanes.read(to, at, x.bytes(), DType.F32, from, tile.channels());
        } else if (t < 0 && tile.run().begin() != null) {
            long from = (t + taps - 1L) * cols + tile.channel();
            Lanes.read(to, at, tile.run().begin().bytes(), DType.F32, from, tile.channels());
        } else {
            Arrays.fill(to, at, at + tile.channels(), 0);
        }
    }

    void gradient(GradientOp.AccumulateConvolveGrad op) {
        if (op.dx() != null) {
            inputs(op);
        }
        if (op.dweight() != null) {
            weights(op);
        }
    }

    private void inputs(GradientOp.AccumulateConvolveGrad op) {
        int taps = Math.toIntExact(op.weight().cols());
        long cols = op.x().cols();
        List<Tile> tiles = tiles(RecurrentOp.whole(op.x().rows(), op.length()), cols);
        MemorySegment sums = op.dx().bytes();
        workers.forEach(
                tiles.size(),
                (i, scratch) -> {
                    Tile tile = tiles.get(i);
                    int width = Lanes.padded(tile.channels());
                    float[] dout = scratch.floats(0, (ROWS + taps - 1) * width);
                    float[] w = weights(op.weight(), tile, width, scratch);
                    float[] dx = scratch.floats(3, width);
                    for (int r = 0; r < tile.rows() + taps - 1; r++) {
                        read(dout, r * width, op.dout(), tile, tile.from() + r, taps);
                    }
                    for (int r = 0; r < tile.rows(); r++) {
                        long row = (long) tile.run().row() + tile.from() + r;
                        long at = row * cols + tile.channel();
                        Lanes.read(dx, 0, sums, DType.F32, at, tile.channels());
                        for (int c = 0; c < width; c += N) {
                            FloatVector sum = FloatVector.fromArray(F, dx, c);
                            for (int j = taps - 1; j >= 0; j--) {
                                int later = (r + taps - 1 - j) * width + c;
                                sum =
                                        FloatVector.fromArray(F, dout, later)
                                                .fma(
                                                        FloatVector.fromArray(F, w, j * width + c),
                                                        sum);
                            }
                            sum.intoArray(dx, c);
                        }
                        Lanes.write(sums, DType.F32, at, dx, 0, tile.channels());
                    }
                });
    }

    /// A tile is some channels of all rows.
    private void weights(GradientOp.AccumulateConvolveGrad op) {
        int taps = Math.toIntExact(op.weight().cols());
        long cols = op.x().cols();
        int width = 64;
        MemorySegment sums = op.dweight().bytes();
        workers.forEach(
                Math.toIntExact(Math.ceilDiv(cols, (long) width)),
                (i, scratch) -> {
                    long channel = (long) i * width;
                    int channels = (int) Math.min(width, cols - channel);
                    double[] dw = scratch.doubles(0, channels * taps);
                    Arrays.fill(dw, 0, channels * taps, 0);
                    // The last rows of x, one behind the other.
                    float[] dout = scratch.floats(0, channels);
                    float[] x = scratch.floats(1, taps * channels);
                    for (long row = 0; row < op.x().rows(); row++) {
                        int t = (int) (row % op.length());
                        long at = row * cols + channel;
                        Lanes.read(dout, 0, op.dout().bytes(), DType.F32, at, channels);
                        int own = t % taps * channels;
                        Lanes.read(x, own, op.x().bytes(), DType.F32, at, channels);
                        for (int back = 0; back < Math.min(taps, t + 1); back++) {
                            int from = (t - back) % taps * channels;
                            int j = taps - 1 - back;
                            for (int c = 0; c < channels; c++) {
                                dw[c * taps + j] += (double) dout[c] * x[from + c];
                            }
                        }
                    }
                    for (int k = 0; k < channels * taps; k++) {
                        long at = 4 * (channel * taps + k);
                        sums.set(F32, at, (float) (sums.get(F32, at) + dw[k]));
                    }
                });
    }
}
