// SPDX-License-Identifier: Apache-2.0
package io.llmc.model.structure;

import io.llmc.formats.RopeConfig;
import io.llmc.formats.RopeScaling;
import java.util.List;

/// Rotary embedding angles in all the scalings that published models use.
///
/// RoFormer (arXiv 2104.09864); linear and dynamic NTK as in transformers; YaRN (arXiv 2309.00071);
/// LongRoPE (arXiv 2402.13753); llama3 as published with Llama 3.1.
public final class RopeTable {
    private RopeTable() {}

    /// `[length, rotated]`: in each row `rotated/2` cosines, then as many sines, of `position *
    /// frequency`, in F64, rounded once.
    public static float[] compute(RopeSpec spec, int length) {
        return compute(spec, 0, length, length);
    }

    /// Rows `[first, end)` of the table of a sequence of `length` tokens.
    public static float[] compute(RopeSpec spec, int first, int end, int length) {
        int half = spec.rotated() / 2;
        int still = spec.still();
        double[] frequencies = frequencies(spec.config(), spec.turning(), length);
        double stretch = magnitude(spec.config(), length);
        float[] table = new float[(end - first) * 2 * half];
        for (int t = 0; t < end - first; t++) {
            int position = Math.max(0, first + t - spec.lag());
            double growth = spec.growth() == null ? 1 : spec.growth().at(position);
            double magnitude = stretch * growth;
            for (int k = 0; k < half; k++) {
                if (k < still) {
                    table[t * 2 * half + k] = (float) growth;
                    continue;
                }
                // The product in F32, as every reference implementation has it: at position 10,000
                // the angle itself is only known to a thousandth.
                float angle = position * (float) frequencies[k - still];
                table[t * 2 * half + k] = (float) (Math.cos(angle) * magnitude);
                double sine = Math.sin(angle) * magnitude;
                table[t * 2 * half + half + k] = (float) (spec.back() ? -sine : sine);
            }
        }
        return table;
    }

    private static double[] frequencies(RopeConfig c, int rotated, int length) {
        double theta = c.theta();
        if (c.scaling() instanceof RopeScaling.Dynamic(double factor)) {
            double longest = Math.max(length, c.maxPositions());
            double stretch = factor * longest / c.maxPositions() - (factor - 1);
            theta *= Math.pow(stretch, rotated / (rotated - 2.0));
        }
        double[] f = new double[rotated / 2];
        for (int k = 0; k < f.length; k++) {
            f[k] = 1 / Math.pow(theta, 2.0 * k / rotated);
        }
        switch (c.scaling()) {
            case RopeScaling.None _, RopeScaling.Dynamic _ -> {}
            case RopeScaling.Linear(double factor) -> {
                for (int k = 0; k < f.length; k++) {
                    f[k] /= factor;
                }
            }
            case RopeScaling.Proportional(double part) -> {
                for (int k = (int) (part * rotated / 2); k < f.length; k++) {
                    f[k] = 0;
                }
            }
            case RopeScaling.Llama3 llama3 -> llama3(f, llama3);
            case RopeScaling.Yarn yarn -> yarn(f, yarn, theta, rotated);
            case RopeScaling.LongRope longRope -> {
                List<Double> factors =
                        length > longRope.originalPositions()
                                ? longRope.longFactors()
                                : longRope.shortFactors();
                for (int k = 0; k < f.length; k++) {
                    f[k] /= factors.get(k);
                }
            }
        }
        return f;
    }

    private static void llama3(double[] f, RopeScaling.Llama3 s) {
        double low = s.lowFrequency();
        double high = s.highFrequency();
        double original = s.originalPositions();
        for (int k = 0; k < f.length; k++) {
            double wavelength = 2 * Math.PI / f[k];
            if (wavelength > original / low) {
                f[k] /= s.factor();
            } else if (wavelength >= original / high) {
                double smooth = (original / wavelength - low) / (high - low);
                f[k] = (1 - smooth) * f[k] / s.factor() + smooth * f[k];
            }
        }
    }

    private static void yarn(double[] f, RopeScaling.Yarn s, double theta, int rotated) {
        double low = correction(s.betaFast(), s, theta, rotated);
        double high = correction(s.betaSlow(), s, theta, rotated);
        if (s.truncate()) {
            low = Math.floor(low);
            high = Math.ceil(high);
        }
        low = Math.max(low, 0);
        high = Math.min(high, rotated - 1);
        if (low == high) {
            high += 0.001;
        }
        for (int k = 0; k < f.length; k++) {
            double ramp = Math.clamp((k - low) / (high - low), 0, 1);
            f[k] = f[k] * (1 - ramp) + f[k] / s.factor() * ramp;
        }
    }

    /// The dimension whose wave turns `rotations` times within the original context.
    private static double correction(
            double rotations, RopeScaling.Yarn s, double theta, int rotated) {
        return rotated
                * Math.log(s.originalPositions() / (rotations * 2 * Math.PI))
                / (2 * Math.log(theta));
    }

    /// What cosines and sines are multiplied by.
    private static double magnitude(RopeConfig c, int length) {
        return switch (c.scaling()) {
            case RopeScaling.Yarn yarn -> yarn.attentionFactor();
            case RopeScaling.LongRope longRope ->
                    length > longRope.originalPositions()
                            ? longRope.longAttention()
                            : longRope.shortAttention();
            case RopeScaling.None _,
                    RopeScaling.Linear _,
                    RopeScaling.Dynamic _,
                    RopeScaling.Llama3 _,
                    RopeScaling.Proportional _ ->
                    1;
        };
    }
}
