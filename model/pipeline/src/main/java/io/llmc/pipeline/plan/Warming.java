// SPDX-License-Identifier: Apache-2.0
package io.llmc.pipeline.plan;

import io.llmc.pipeline.Estimate;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.function.DoubleSupplier;

/// Some work that was done again and again, from the time when nothing was compiled yet: who does
/// it more often will have the same slow beginning, and then the pace of the fastest.
///
/// @param seconds of each time, in order
public record Warming(List<Double> seconds) {
    private static final int FEWEST = 2;

    public Warming {
        seconds = List.copyOf(seconds);
    }

    /// @param budget seconds that all of it may take beside the first time, about
    /// @param most times that it is worth doing
    /// @param work gives the seconds that it took
    public static Warming of(double budget, double most, DoubleSupplier work) {
        List<Double> seconds = new ArrayList<>();
        double left = budget;
        while (seconds.size() < FEWEST || left > 0 && seconds.size() < most) {
            double took = work.getAsDouble();
            left -= seconds.isEmpty() ? 0 : took;
            seconds.add(took);
        }
        return new Warming(seconds);
    }

    /// Work by the clock.
    public static DoubleSupplier timed(Runnable work) {
        return () -> {
            long start = System.nanoTime();
            work.run();
            return (System.nanoTime() - start) / 1e9;
        };
    }

    /// The pace in the end.
    public double steady() {
        return Collections.min(seconds);
    }

    /// What the beginning takes longer.
    public double beginning() {
        return spent() - seconds.size() * steady();
    }

    public double spent() {
        return seconds.stream().mapToDouble(Double::doubleValue).sum();
    }

    /// Of doing it `times` times.
    public Estimate estimate(double times) {
        return new Estimate(all(times), times * steady());
    }

    /// Seconds of doing it `times` times in a process that begins with it.
    public double all(double times) {
        int known = (int) Math.min(times, seconds.size());
        double begun = seconds.subList(0, known).stream().mapToDouble(Double::doubleValue).sum();
        return begun + (times - known) * steady();
    }
}
