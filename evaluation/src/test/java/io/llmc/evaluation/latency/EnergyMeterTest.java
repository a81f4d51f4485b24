// SPDX-License-Identifier: Apache-2.0
package io.llmc.evaluation.latency;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class EnergyMeterTest {
    @TempDir private Path root;

    private void zone(String name, String energy, String range) throws IOException {
        Path zone = Files.createDirectories(root.resolve(name));
        Files.writeString(zone.resolve("energy_uj"), energy + "\n");
        Files.writeString(zone.resolve("max_energy_range_uj"), range + "\n");
    }

    @Test
    void packagesAddUpAndCountersBeginAnew() throws IOException {
        zone("intel-rapl:0", "900", "1000");
        zone("intel-rapl:1", "2000000", "9000000");
        zone("intel-rapl:0:0", "1", "1000");
        EnergyMeter meter = EnergyMeter.of(root);
        long[] before = meter.now();
        zone("intel-rapl:0", "100", "1000");
        zone("intel-rapl:1", "5000000", "9000000");
        zone("intel-rapl:0:0", "777", "1000");
        // 200 and 3,000,000 millionths.
        assertThat(meter.joules(before, meter.now()).orElseThrow()).isCloseTo(3.0002, within(1e-9));
    }

    @Test
    void aMachineThatDoesNotSayHasNone() throws IOException {
        assertThat(EnergyMeter.of(root.resolve("absent")).now()).isEmpty();
        zone("intel-rapl:0", "no number", "1000");
        EnergyMeter meter = EnergyMeter.of(root);
        assertThat(meter.joules(meter.now(), meter.now())).isEmpty();
    }
}
