// SPDX-License-Identifier: Apache-2.0
package io.llmc.backend.cpu;

import static org.assertj.core.api.Assertions.assertThat;

import org.junit.jupiter.api.Test;

class DynamicMapTest {
    @Test
    void aCodeIsItsValue() {
        float[] signed = DynamicMap.SIGNED.values();
        float[] unsigned = DynamicMap.UNSIGNED.values();
        assertThat(signed).hasSize(256).isSorted().contains(0, 1);
        assertThat(unsigned).hasSize(256).isSorted().contains(0, 1);
        for (int rank = 0; rank < 256; rank++) {
            assertThat(DynamicMap.UNSIGNED.rank(unsigned[rank])).isEqualTo(rank);
        }
        for (int rank = 0; rank <= 128; rank++) {
            assertThat(DynamicMap.SIGNED.rank(signed[127 + rank])).isEqualTo(rank);
        }
    }

    /// Around every border between two ranks, float by float.
    @Test
    void theNearestMagnitudeIsFound() {
        float[] unsigned = DynamicMap.UNSIGNED.values();
        float[] signed = java.util.Arrays.copyOfRange(DynamicMap.SIGNED.values(), 127, 256);
        assertNearest(DynamicMap.UNSIGNED, unsigned);
        assertNearest(DynamicMap.SIGNED, signed);
    }

    private static void assertNearest(DynamicMap map, float[] magnitudes) {
        for (int r = 0; r + 1 < magnitudes.length; r++) {
            float x = (magnitudes[r] + magnitudes[r + 1]) / 2;
            for (int i = 0; i < 4; i++) {
                x = Math.nextDown(x);
            }
            for (int i = 0; i < 8; i++, x = Math.nextUp(x)) {
                double down = (double) x - magnitudes[r];
                double up = (double) magnitudes[r + 1] - x;
                assertThat(map.rank(x)).as("%s", x).isEqualTo(down <= up ? r : r + 1);
            }
        }
    }

    @Test
    void nothingLeavesTheMap() {
        for (float x : new float[] {0, Float.MIN_VALUE, 2, Float.POSITIVE_INFINITY, Float.NaN}) {
            assertThat(DynamicMap.UNSIGNED.rank(x)).isEqualTo(x >= 0 && x < 1 ? 0 : 255);
            assertThat(DynamicMap.SIGNED.rank(x)).isEqualTo(x >= 0 && x < 1 ? 0 : 128);
        }
    }
}
