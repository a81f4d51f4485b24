// SPDX-License-Identifier: Apache-2.0
package io.llmc.model;

import io.llmc.formats.RopeConfig;
import io.llmc.formats.UserException;

/// Rotary embedding angles in all the scalings that published models use.
///
/// RoFormer (arXiv 2104.09864); linear and dynamic NTK as in transformers; YaRN (arXiv 2309.00071);
/// LongRoPE (arXiv 2402.13753); llama3 as published with Llama 3.1.
final class RopeTable {
    private RopeTable() {}

    /// `[length, rotated]`: in each row `rotated/2` cosines, then as many sines, of `position *
    /// frequency`, in F64, rounded once.
    static float[] compute(RopeSpec spec, int length) {
        int half = spec.rotated() / 2;
        double[] frequencies = frequencies(spec.config(), spec.rotated(), length);
        double magnitude = magnitude(spec.config());
        float[] table = new float[length * 2 * half];
        for (int t = 0; t < length; t++) {
            for (int k = 0; k < half; k++) {
                // The product in F32, as every reference implementation has it: at position 10,000
                // the angle itself is only known to a thousandth.
                float angle = t * (float) frequencies[k];
                table[t * 2 * half + k] = (float) (Math.cos(angle) * magnitude);
                table[t * 2 * half + half + k] = (float) (Math.sin(angle) * magnitude);
            }
        }
        return table;
    }

    private static double[] frequencies(RopeConfig c, int rotated, int length) {
        double theta = c.theta();
        double factor = c.number("factor", 1);
        if (c.type().equals("dynamic")) {
            double longest = Math.max(length, c.maxPositions());
            double stretch = factor * longest / c.maxPositions() - (factor - 1);
            theta *= Math.pow(stretch, rotated / (rotated - 2.0));
        }
        double[] f = new double[rotated / 2];
        for (int k = 0; k < f.length; k++) {
            f[k] = 1 / Math.pow(theta, 2.0 * k / rotated);
        }
        switch (c.type()) {
            case "default", "dynamic" -> {}
            case "linear" -> {
                for (int k = 0; k < f.length; k++) {
                    f[k] /= factor;
                }
            }
            case "llama3" -> llama3(f, c, factor);
            case "yarn" -> yarn(f, c, rotated, factor);
            case "longrope" -> longrope(f, c, length);
            default ->
                    throw new UserException(
                            "config.json asks for rope scaling \""
                                    + c.type()
                                    + "\", which llmc does not know",
                            "known: default, linear, dynamic, llama3, yarn, longrope");
        }
        return f;
    }

    private static void llama3(double[] f, RopeConfig c, double factor) {
        double low = c.number("low_freq_factor", 1);
        double high = c.number("high_freq_factor", 4);
        double original = c.originalMaxPositions();
        for (int k = 0; k < f.length; k++) {
            double wavelength = 2 * Math.PI / f[k];
            if (wavelength > original / low) {
                f[k] /= factor;
            } else if (wavelength >= original / high) {
                double smooth = (original / wavelength - low) / (high - low);
                f[k] = (1 - smooth) * f[k] / factor + smooth * f[k];
            }
        }
    }

    private static void yarn(double[] f, RopeConfig c, int rotated, double factor) {
        double low = correction(c.number("beta_fast", 32), c, rotated);
        double high = correction(c.number("beta_slow", 1), c, rotated);
        if (c.flag("truncate", true)) {
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
            f[k] = f[k] * (1 - ramp) + f[k] / factor * ramp;
        }
    }

    /// The dimension whose wave turns `rotations` times within the original context.
    private static double correction(double rotations, RopeConfig c, int rotated) {
        return rotated
                * Math.log(c.originalMaxPositions() / (rotations * 2 * Math.PI))
                / (2 * Math.log(c.theta()));
    }

    private static void longrope(double[] f, RopeConfig c, int length) {
        String key = length > c.originalMaxPositions() ? "long_factor" : "short_factor";
        double[] factors = c.numbers(key);
        if (factors.length != f.length) {
            throw new UserException(
                    "config.json: %s has %d numbers, expected %d (half of the rotated dimensions)"
                            .formatted(key, factors.length, f.length),
                    "compare it with the published config.json");
        }
        for (int k = 0; k < f.length; k++) {
            f[k] /= factors[k];
        }
    }

    /// What cosines and sines are multiplied by.
    private static double magnitude(RopeConfig c) {
        switch (c.type()) {
            case "yarn" -> {
                double factor = c.number("factor", 1);
                double given = c.number("attention_factor", Double.NaN);
                double mscale = c.number("mscale", 0);
                double mscaleAllDim = c.number("mscale_all_dim", 0);
                if (!Double.isNaN(given)) {
                    return given;
                }
                return mscale != 0 && mscaleAllDim != 0
                        ? stretch(factor, mscale) / stretch(factor, mscaleAllDim)
                        : stretch(factor, 1);
            }
            case "longrope" -> {
                double given = c.number("attention_factor", Double.NaN);
                if (!Double.isNaN(given)) {
                    return given;
                }
                // A factor in the parameters wins over the ratio of the two lengths, as in
                // transformers.
                double factor =
                        c.number("factor", (double) c.maxPositions() / c.originalMaxPositions());
                return factor <= 1
                        ? 1
                        : Math.sqrt(1 + Math.log(factor) / Math.log(c.originalMaxPositions()));
            }
            default -> {
                return 1;
            }
        }
    }

    private static double stretch(double factor, double mscale) {
        return factor <= 1 ? 1 : 0.1 * mscale * Math.log(factor) + 1;
    }
}
