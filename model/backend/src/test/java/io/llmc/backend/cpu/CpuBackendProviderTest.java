// SPDX-License-Identifier: Apache-2.0
package io.llmc.backend.cpu;

import static org.assertj.core.api.Assertions.assertThat;

import io.llmc.backend.BackendProvider;
import java.util.ServiceLoader;
import org.junit.jupiter.api.Test;

class CpuBackendProviderTest {
    @Test
    void isFoundAndSaysWhatItRunsOn() {
        var devices =
                ServiceLoader.load(BackendProvider.class).stream()
                        .flatMap(p -> p.get().devices().stream())
                        .filter(d -> d.name().equals("cpu"))
                        .toList();
        assertThat(devices).hasSize(1);
        assertThat(devices.getFirst().usable()).isTrue();
        assertThat(devices.getFirst().description()).contains("-bit vectors", "oneDNN");
    }
}
