// SPDX-License-Identifier: Apache-2.0
package io.llmc.quantize.scales;

import io.llmc.backend.CompressionOp;
import io.llmc.backend.Desk;
import io.llmc.backend.ForwardOp;
import io.llmc.backend.StatisticOp;
import io.llmc.tensor.DType;
import io.llmc.tensor.Encoding;
import io.llmc.tensor.Tensor;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Comparator;
import java.util.List;
import java.util.Map;
import java.util.SortedMap;
import java.util.TreeMap;
import java.util.function.IntConsumer;
import java.util.stream.IntStream;

/// AWQ (Lin et al., 2023, arXiv 2306.00978): the weights of active channels are multiplied by as
/// much as their inputs are divided by, so that rounding hurts them less. Tensors in, tensors out:
/// no names, no files.
final class AwqMath {
    /// No scale is below this before all are balanced, and so none is 0.
    private static final double LEAST = 1e-4;

    private AwqMath() {}

    /// Whether scales also fall with the weights' own size.
    enum Duo {
        /// Both are tried, and the better one is taken.
        BOTH,
        WITH,
        WITHOUT
    }

    /// @param steps ratios `i / steps`, from 0 on, of which those near the best are tried
    record Ratios(int steps, Duo duo) {}

    /// @param scales of the channels: weights are multiplied by them, and inputs divided
    /// @param ratio by which they were made
    /// @param unscaled the error without scales
    record Found(float[] scales, double ratio, double error, double unscaled) {}

    /// The scales with the least error; ones where no others are better.
    ///
    /// @param activity mean magnitude of each channel
    /// @param sizes of its weights, as [#addSizes] adds them up; null where only `WITHOUT` is tried
    static Found search(double[] activity, double[] sizes, Ratios ratios, Trial trial) {
        float[] ones = new float[activity.length];
        Arrays.fill(ones, 1);
        double unscaled = trial.error(ones);
        Found best = new Found(ones, 0, unscaled, unscaled);
        if (ratios.duo() != Duo.WITH) {
            best = better(best, activity, null, ratios.steps(), trial);
        }
        if (ratios.duo() != Duo.WITHOUT) {
            best = better(best, activity, sizes, ratios.steps(), trial);
        }
        return best;
    }

    /// Every second ratio, then the neighbours of the two best: errors change little from one ratio
    /// to the next, and the two are there for where they are uneven.
    private static Found better(
            Found before, double[] activity, double[] sizes, int steps, Trial trial) {
        SortedMap<Integer, Double> errors = new TreeMap<>();
        IntConsumer attempt =
                i ->
                        errors.computeIfAbsent(
                                i, _ -> trial.error(scales(activity, sizes, (double) i / steps)));
        if (sizes == null) {
            errors.put(0, before.unscaled); // ratio 0 gives ones, which have been tried
        }
        for (int i = 0; i < steps; i += 2) {
            attempt.accept(i);
        }
        List<Integer> best =
                errors.keySet().stream()
                        .sorted(Comparator.comparing(errors::get))
                        .limit(2)
                        .toList();
        for (int i : best) {
            IntStream.of(i - 1, i + 1).filter(k -> k >= 0 && k < steps).forEach(attempt);
        }
        Found found = before;
        for (Map.Entry<Integer, Double> e : errors.entrySet()) {
            if (e.getValue() < found.error) {
                double ratio = (double) e.getKey() / steps;
                float[] scales = scales(activity, sizes, ratio);
                found = new Found(scales, ratio, e.getValue(), before.unscaled);
            }
        }
        return found;
    }

    /// `activity^ratio / size^(1 - ratio)`, in units of the root of largest times smallest. A
    /// channel that was never active says nothing, and gets the smallest of those that were.
    ///
    /// @param sizes null for `activity^ratio`
    static float[] scales(double[] activity, double[] sizes, double ratio) {
        double[] raw = new double[activity.length];
        double least = Double.POSITIVE_INFINITY;
        double most = 0;
        for (int c = 0; c < raw.length; c++) {
            double by = sizes == null ? 1 : Math.pow(sizes[c], 1 - ratio) + 1e-4;
            raw[c] = Math.max(LEAST, Math.pow(activity[c], ratio) / by);
            if (activity[c] > 0) {
                least = Math.min(least, raw[c]);
                most = Math.max(most, raw[c]);
            }
        }
        float[] scales = new float[raw.length];
        double unit = Math.sqrt(most) * Math.sqrt(least);
        for (int c = 0; c < raw.length; c++) {
            float s = (float) ((activity[c] > 0 ? raw[c] : least) / unit);
            scales[c] = Float.isFinite(s) && s > 0 ? s : 1;
        }
        return scales;
    }

    /// Adds to each column's sum what part of the largest magnitude of its group each weight is.
    ///
    /// @param sums `[in]`
    /// @param w F32, F16 or BF16 `[out, in]`
    /// @param width columns of a group
    static void addSizes(Desk d, double[] sums, Tensor w, int width) {
        int in = sums.length;
        try (Desk own = d.fresh(4L * in + 1024)) {
            Tensor row = own.f32(1, in);
            for (long r = 0; r < w.rows(); r++) {
                own.run(new ForwardOp.Scale(row, w.rows(r, r + 1), 1));
                float[] x = own.backend().floats(row);
                for (int from = 0; from < in; from += width) {
                    addSizes(sums, x, from, Math.min(in, from + width));
                }
            }
        }
    }

    private static void addSizes(double[] sums, float[] x, int from, int to) {
        float most = 0;
        for (int c = from; c < to; c++) {
            most = Math.max(most, Math.abs(x[c]));
        }
        for (int c = from; c < to; c++) {
            sums[c] += Math.abs(x[c]) / (most + 1e-6);
        }
    }

    /// How far ranges may shrink: factors `1 - k / grid` for k from 0 to `steps - 1`.
    record Shrinking(int steps, int grid) {
        /// To a half, by a twentieth at a time.
        static final Shrinking DEFAULT = new Shrinking(10, 20);
    }

    /// Bytes that [#limits] works in.
    static long limitBytes(long out, long in, long width, long tokens) {
        return 4 * (2 * out * in + in * width + tokens * width + 2 * out * width)
                + 24 * out
                + (1 << 17);
    }

    /// The magnitude at which the weights of each group are best clamped: where rounding them costs
    /// the group's part of the output least.
    ///
    /// @param limits F32 `[out, groups]`
    /// @param w F32 `[out, in]`
    /// @param x F32 `[tokens, in]`
    static void limits(
            Desk d, Tensor limits, Tensor w, Tensor x, Encoding.Grid<?> target, Shrinking by) {
        int groups = Math.toIntExact(limits.cols());
        int width = Math.toIntExact(w.cols() / groups);
        int out = Math.toIntExact(w.rows());
        float[] most = magnitudes(d, w, groups, width);
        float[] best = most.clone();
        float[] tried = new float[most.length];
        double[] least = new double[most.length];
        Arrays.fill(least, Double.POSITIVE_INFINITY);
        long own = 4 * (w.shape().size() + w.cols() * width) + 8L * most.length + 512L * groups;
        try (Desk held = d.fresh(own + 4096);
                Desk room = d.fresh(4L * out * (width + 2) + 1024)) {
            List<Tensor> h = grams(held, x, groups, width);
            Tensor change = held.f32(out, w.cols());
            for (int k = 0; k < by.steps; k++) {
                for (int i = 0; i < most.length; i++) {
                    tried[i] = most[i] * (float) (1 - (double) k / by.grid);
                }
                try (Desk scratch = held.scratch()) {
                    Tensor at = scratch.floats(tried).reshape(out, groups);
                    scratch.run(new CompressionOp.Clamp(change, w, at));
                }
                Rounding.round(d, change, target);
                d.run(new ForwardOp.Add(change, change, w, -1));
                for (int g = 0; g < groups; g++) {
                    double[] errors = errors(room, change, h.get(g), (long) g * width);
                    for (int o = 0; o < out; o++) {
                        int at = o * groups + g;
                        if (errors[o] < least[at]) {
                            least[at] = errors[o];
                            best[at] = tried[at];
                        }
                    }
                }
            }
            try (Desk scratch = held.scratch()) {
                scratch.run(
                        new ForwardOp.Scale(limits, scratch.floats(best).reshape(out, groups), 1));
            }
        }
    }

    /// The largest magnitude of each group, `[out * groups]`.
    private static float[] magnitudes(Desk d, Tensor w, int groups, int width) {
        long rows = w.rows() * groups;
        try (Desk own = d.fresh(4 * rows * (width + 1) + 1024)) {
            Tensor turned = own.f32(width, rows);
            Tensor most = own.allocate(DType.F32, rows);
            own.run(new StatisticOp.Transpose(turned, w.reshape(rows, width)));
            own.run(new ForwardOp.Zero(most));
            own.run(new StatisticOp.AccumulateColumnMaxima(most, turned));
            return own.backend().floats(most);
        }
    }

    /// `x_g^T x_g` of the inputs of each group.
    private static List<Tensor> grams(Desk held, Tensor x, int groups, int width) {
        List<Tensor> all = new ArrayList<>();
        for (int g = 0; g < groups; g++) {
            all.add(held.f32(width, width));
        }
        try (Desk own = held.fresh(4 * x.rows() * width + 1024)) {
            Tensor part = own.f32(x.rows(), width);
            for (int g = 0; g < groups; g++) {
                own.run(new ForwardOp.Columns(part, x, (long) g * width));
                own.run(new ForwardOp.Zero(all.get(g)));
                own.run(new StatisticOp.AccumulateGram(all.get(g), part, 1));
            }
        }
        return all;
    }

    /// What a group's weights change each row's output by, as a sum of squares.
    private static double[] errors(Desk room, Tensor change, Tensor h, long from) {
        try (Desk own = room.scratch()) {
            Tensor part = own.f32(change.rows(), h.rows());
            Tensor errors = own.allocate(DType.F64, change.rows());
            own.run(new ForwardOp.Columns(part, change, from));
            own.run(new StatisticOp.QuadraticForm(errors, part, h));
            return own.backend().doubles(errors);
        }
    }
}
