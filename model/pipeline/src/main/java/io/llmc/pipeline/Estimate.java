// SPDX-License-Identifier: Apache-2.0
package io.llmc.pipeline;

/// Seconds that some work will take.
///
/// @param cold in a process that begins with it
/// @param warm in one that has done a little of it already, as to find this out
public record Estimate(double cold, double warm) {
    /// Of work that takes the same from the beginning.
    public static Estimate of(double seconds) {
        return new Estimate(seconds, seconds);
    }

    public Estimate plus(Estimate other) {
        return new Estimate(cold + other.cold, warm + other.warm);
    }
}
