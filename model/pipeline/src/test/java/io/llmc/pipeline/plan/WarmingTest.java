// SPDX-License-Identifier: Apache-2.0
package io.llmc.pipeline.plan;

import static org.assertj.core.api.Assertions.assertThat;

import java.util.Iterator;
import java.util.List;
import org.junit.jupiter.api.Test;

class WarmingTest {
    @Test
    void theBeginningIsSlowAndCountsOnce() {
        Warming w = new Warming(List.of(4.0, 2.0, 1.0, 1.5));
        assertThat(w.steady()).isEqualTo(1);
        assertThat(w.beginning()).isEqualTo(4.5);
        assertThat(w.all(2)).isEqualTo(6);
        assertThat(w.all(2.5)).isEqualTo(6.5);
        assertThat(w.all(10)).isEqualTo(8.5 + 6);
    }

    @Test
    void itStopsAtItsBudgetAndWhereMoreIsNotWorthIt() {
        Iterator<Double> times = List.of(3.0, 2.0, 1.0, 1.0, 1.0).iterator();
        assertThat(Warming.of(2.5, 9, times::next).seconds()).containsExactly(3.0, 2.0, 1.0);
        assertThat(Warming.of(100, 3, () -> 1).seconds()).hasSize(3);
        assertThat(Warming.of(0.1, 3, () -> 1).seconds()).hasSize(2);
    }
}
