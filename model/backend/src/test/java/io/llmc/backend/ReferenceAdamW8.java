// SPDX-License-Identifier: Apache-2.0
package io.llmc.backend;

import static io.llmc.backend.ReferenceOps.get;
import static io.llmc.backend.ReferenceOps.set;
import static io.llmc.backend.ReferenceOps.size;

import io.llmc.backend.OptimizerOp.Moment;
import java.util.Arrays;
import java.util.stream.DoubleStream;
import java.util.stream.IntStream;

/// Adam in 8 bits by its definition in F32: a sorted list of the map's values, searched whole.
final class ReferenceAdamW8 {
    private ReferenceAdamW8() {}

    /// The tree's values in the order of their codes.
    static float[] map(boolean signed) {
        double[] positive =
                IntStream.range(0, 7)
                        .boxed()
                        .flatMapToDouble(e -> {
                            int parts = 1 << ((signed ? 6 : 7) - e);
                            double width = 0.9 / parts;
                            return IntStream.range(0, parts)
                                    .mapToDouble(
                                            i -> Math.pow(10, -e) * (0.1 + width / 2 + i * width));
                        })
                        .toArray();
        DoubleStream negative = Arrays.stream(positive).filter(_ -> signed).map(x -> -x);
        DoubleStream ends = DoubleStream.of(0, 1);
        double[] all =
                DoubleStream.concat(ends, DoubleStream.concat(negative, Arrays.stream(positive)))
                        .sorted()
                        .toArray();
        float[] map = new float[all.length];
        for (int i = 0; i < map.length; i++) {
            map[i] = (float) all[i];
        }
        return map;
    }

    static void run(OptimizerOp.AccumulateAdamW8 op) {
        OptimizerOp.AdamSpec spec = op.spec();
        float[] signed = map(true);
        float[] unsigned = map(false);
        int n = (int) size(op.w());
        float[] m = new float[n];
        float[] v = new float[n];
        float first = (float) (1 / (1 - Math.pow(spec.beta1(), spec.step())));
        float second = (float) (1 / (1 - Math.pow(spec.beta2(), spec.step())));
        for (int i = 0; i < n; i++) {
            float grad = (float) get(op.g(), i) * spec.gradientScale();
            m[i] = value(op.m(), signed, i) * spec.beta1() + grad * (1 - spec.beta1());
            v[i] = value(op.v(), unsigned, i) * spec.beta2() + grad * grad * (1 - spec.beta2());
            float w = (float) get(op.w(), i);
            float root = (float) Math.sqrt(v[i] * second);
            float step = m[i] * first / (root + spec.eps()) + w * spec.decay();
            set(op.w(), i, w - step * spec.rate());
        }
        encode(op.m(), signed, m);
        encode(op.v(), unsigned, v);
    }

    private static float value(Moment moment, float[] map, int i) {
        float scale = (float) get(moment.scales(), i / Moment.BLOCK);
        return map[(int) get(moment.codes(), i)] * scale;
    }

    private static void encode(Moment moment, float[] map, float[] x) {
        for (int from = 0; from < x.length; from += Moment.BLOCK) {
            int end = Math.min(x.length, from + Moment.BLOCK);
            float scale = 0;
            for (int i = from; i < end; i++) {
                scale = Math.max(scale, Math.abs(x[i]));
            }
            set(moment.scales(), from / Moment.BLOCK, scale);
            for (int i = from; i < end; i++) {
                set(moment.codes(), i, nearest(map, scale == 0 ? 0 : x[i] / scale));
            }
        }
    }

    /// The nearest, towards 0 on a tie; but nothing of a map without signs becomes 0 that is not.
    static int nearest(float[] map, float x) {
        int best = 0;
        for (int code = 1; code < map.length; code++) {
            double now = Math.abs((double) map[code] - x);
            double before = Math.abs((double) map[best] - x);
            boolean lower = Math.abs(map[code]) < Math.abs(map[best]);
            if (now < before || now == before && lower) {
                best = code;
            }
        }
        return map[0] == 0 && best == 0 && x > 0 ? 1 : best;
    }
}
