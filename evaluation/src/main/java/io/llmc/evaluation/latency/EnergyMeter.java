// SPDX-License-Identifier: Apache-2.0
package io.llmc.evaluation.latency;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.OptionalDouble;
import java.util.stream.Stream;

/// Energy of the processor's packages as Linux counts it (RAPL, in `/sys/class/powercap`). Most
/// virtual machines do not show it, and some systems to the administrator alone.
final class EnergyMeter {
    private static final Path POWERCAP = Path.of("/sys/class/powercap");

    private final List<Counter> counters = new ArrayList<>();

    private record Counter(Path energy, long range) {}

    private EnergyMeter(Path root) {
        if (!Files.isDirectory(root)) {
            return;
        }
        try (Stream<Path> zones = Files.list(root)) {
            // Whole packages, intel-rapl:0 and so on; their parts are intel-rapl:0:1.
            zones.filter(z -> z.getFileName().toString().matches("intel-rapl:\\d+"))
                    .sorted()
                    .forEach(this::add);
        } catch (IOException | UncheckedIOException _) {
            counters.clear();
        }
    }

    static EnergyMeter ofMachine() {
        return of(POWERCAP);
    }

    static EnergyMeter of(Path root) {
        return new EnergyMeter(root);
    }

    private void add(Path zone) {
        try {
            Path energy = zone.resolve("energy_uj");
            read(energy);
            counters.add(new Counter(energy, read(zone.resolve("max_energy_range_uj"))));
        } catch (IOException | NumberFormatException _) {
            // not for us to read
        }
    }

    private static long read(Path file) throws IOException {
        return Long.parseLong(Files.readString(file).strip());
    }

    /// What every counter shows now; empty where there is none.
    long[] now() {
        long[] values = new long[counters.size()];
        for (int i = 0; i < values.length; i++) {
            try {
                values[i] = read(counters.get(i).energy);
            } catch (IOException | NumberFormatException _) {
                return new long[0];
            }
        }
        return values;
    }

    /// Joules between two moments; counters that have begun anew meanwhile are taken as such.
    OptionalDouble joules(long[] before, long[] after) {
        if (before.length == 0 || after.length != before.length) {
            return OptionalDouble.empty();
        }
        double sum = 0;
        for (int i = 0; i < before.length; i++) {
            long used = after[i] - before[i];
            sum += used < 0 ? used + counters.get(i).range : used;
        }
        return OptionalDouble.of(sum * 1e-6);
    }
}
