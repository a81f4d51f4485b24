// SPDX-License-Identifier: Apache-2.0
package io.llmc.quantize.scales;

import java.util.Arrays;

/// SmoothQuant (Xiao et al., 2022, arXiv 2211.10438): outliers of inputs move into the weights, as
/// far as both are then equally hard to round. Numbers in, numbers out.
final class SmoothMath {
    /// The least scale, as in the reference implementation (mit-han-lab/smoothquant).
    private static final double LEAST = 1e-5;

    private SmoothMath() {}

    /// @param scales of the channels: weights are multiplied by them, and inputs divided
    /// @param alpha by which they were made
    /// @param unscaled the error without scales
    record Found(float[] scales, double alpha, double error, double unscaled) {}

    /// `inputs^alpha / weights^(1 - alpha)`, at least [#LEAST]. A channel that was never active
    /// says nothing, and stays as it is.
    ///
    /// @param inputs largest magnitude of each channel
    /// @param weights largest magnitude of what multiplies it
    static float[] scales(float[] inputs, float[] weights, double alpha) {
        float[] scales = new float[inputs.length];
        for (int c = 0; c < scales.length; c++) {
            double least = Math.max(LEAST, weights[c]);
            double s = Math.pow(inputs[c], alpha) / Math.pow(least, 1 - alpha);
            scales[c] = inputs[c] > 0 ? (float) Math.max(LEAST, s) : 1;
        }
        return scales;
    }

    /// The scales with the least error among alphas `i / steps`, 0 and 1 included; ones where none
    /// is better than those.
    static Found search(float[] inputs, float[] weights, int steps, Trial trial) {
        float[] ones = new float[inputs.length];
        Arrays.fill(ones, 1);
        double unscaled = trial.error(ones);
        Found best = new Found(ones, 0, unscaled, unscaled);
        for (int i = 0; i <= steps; i++) {
            double alpha = (double) i / steps;
            float[] scales = scales(inputs, weights, alpha);
            double error = trial.error(scales);
            if (error < best.error) {
                best = new Found(scales, alpha, error, unscaled);
            }
        }
        return best;
    }
}
