// SPDX-License-Identifier: Apache-2.0
package io.llmc.evaluation.latency;

import java.util.Arrays;
import java.util.OptionalDouble;

/// What one kind of measurement gave for one model.
///
/// @param tokens that each of `totals` stands for
/// @param totals seconds of each measurement, in their order
/// @param steps seconds of all single steps, sorted; empty where a measurement is one step
/// @param joules a token; empty where the machine does not say
/// @param least seconds that the roofline leaves of a measurement
public record Timing(
        int tokens, double[] totals, double[] steps, OptionalDouble joules, double least) {
    public Timing {
        steps = steps.clone();
        Arrays.sort(steps);
    }

    /// Seconds of the median measurement.
    public double median() {
        return at(sorted(totals), 0.5);
    }

    /// The part of what memory and arithmetic of the machine would allow; above 1 where it keeps in
    /// its caches what the roofline reads from memory.
    public double roofline() {
        return least / median();
    }

    public double tokensPerSecond() {
        return tokens / median();
    }

    /// Of the slowest measurement.
    public double slowest() {
        return tokens / Arrays.stream(totals).max().orElseThrow();
    }

    public double fastest() {
        return tokens / Arrays.stream(totals).min().orElseThrow();
    }

    /// Seconds that a part of the single steps do not exceed.
    public double percentile(double part) {
        return at(steps, part);
    }

    private static double[] sorted(double[] x) {
        double[] sorted = x.clone();
        Arrays.sort(sorted);
        return sorted;
    }

    /// Linear between neighbours.
    private static double at(double[] sorted, double part) {
        double at = part * (sorted.length - 1);
        int below = (int) at;
        int above = Math.min(below + 1, sorted.length - 1);
        return sorted[below] + (at - below) * (sorted[above] - sorted[below]);
    }
}
