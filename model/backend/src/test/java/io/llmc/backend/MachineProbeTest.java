// SPDX-License-Identifier: Apache-2.0
package io.llmc.backend;

import static org.assertj.core.api.Assertions.assertThat;

import io.llmc.backend.BackendOptions.Compute;
import io.llmc.backend.BackendOptions.Math;
import io.llmc.backend.MachineProbe.Rate;
import io.llmc.backend.cpu.CpuBackend;
import io.llmc.tensor.DType;
import org.junit.jupiter.api.Test;

/// Rates within what any machine of today has, and their order.
class MachineProbeTest {
    private static final MachineProbe SHORT = new MachineProbe(200_000_000L, 64L << 20);

    @Test
    void ratesOfRunsThatTookAsLongAsTheyDid() {
        Rate rate = Rate.of(12, new double[] {4, 1, 2, 3, 6});
        assertThat(rate).isEqualTo(new Rate(4, 3, 6, 12, 5));
        assertThat(Rate.of(1, new double[] {2})).isEqualTo(new Rate(0.5, 0.5, 0.5, 0.5, 1));
    }

    @Test
    void memoryAndProducts() {
        try (Backend backend = new CpuBackend(BackendOptions.defaults())) {
            plausible(SHORT.bandwidth(backend), 2e8, 2e12);
            Rate products = SHORT.products(backend, DType.F32);
            plausible(products, 1e9, 1e14);
            assertThat(products.runs()).isGreaterThanOrEqualTo(3);
            assertThat(backend.host().peak()).isLessThan(512L << 20);
        }
    }

    @Test
    void integers() {
        BackendOptions options = new BackendOptions(1, Math.AUTO, Long.MAX_VALUE, Compute.INT8);
        try (Backend backend = new CpuBackend(options)) {
            plausible(SHORT.integerProducts(backend), 1e8, 1e14);
        }
    }

    private static void plausible(Rate rate, double least, double most) {
        assertThat(rate.low()).isBetween(least, most);
        assertThat(rate.median()).isBetween(rate.low(), rate.high());
    }
}
