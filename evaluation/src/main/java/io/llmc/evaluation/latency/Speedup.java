// SPDX-License-Identifier: Apache-2.0
package io.llmc.evaluation.latency;

/// How many times faster one model is than another, of measurements that were made in pairs.
///
/// @param ratio the geometric mean of the pairs' ratios
/// @param low lower end of its 95 % interval by Student's t
public record Speedup(double ratio, double low, double high) {
    /// Student's t, two-sided 95 %, for 1 to 30 degrees of freedom.
    private static final double[] T = {
        12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160,
        2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056,
        2.052, 2.048, 2.045, 2.042
    };

    private static final double NORMAL = 1.96;

    /// @param ours seconds
    /// @param theirs seconds of the measurements made next to them
    public static Speedup of(double[] ours, double[] theirs) {
        int n = ours.length;
        if (n < 2 || theirs.length != n) {
            throw new IllegalArgumentException(n + " and " + theirs.length + " measurements");
        }
        double mean = 0;
        for (int i = 0; i < n; i++) {
            mean += Math.log(theirs[i] / ours[i]) / n;
        }
        double squares = 0;
        for (int i = 0; i < n; i++) {
            double d = Math.log(theirs[i] / ours[i]) - mean;
            squares += d * d;
        }
        double t = n - 1 <= T.length ? T[n - 2] : NORMAL;
        double half = t * Math.sqrt(squares / (n - 1) / n);
        return new Speedup(Math.exp(mean), Math.exp(mean - half), Math.exp(mean + half));
    }
}
