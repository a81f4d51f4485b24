// SPDX-License-Identifier: Apache-2.0
package io.llmc.tensor;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.math.BigDecimal;
import java.util.Random;
import org.junit.jupiter.api.Test;

class FloatsTest {
    @Test
    void everyBf16SurvivesTheWayThroughFloat() {
        for (int bits = 0; bits < 1 << 16; bits++) {
            float value = Floats.bf16ToFloat((short) bits);
            short back = Floats.floatToBf16(value);
            if (Float.isNaN(value)) {
                assertThat(Floats.bf16ToFloat(back)).isNaN();
            } else {
                assertThat(back).isEqualTo((short) bits);
            }
        }
    }

    @Test
    void bf16TiesGoToEven() {
        // 1 + 1/256 lies halfway between 1 and 1 + 1/128, 1 + 3/256 between that and 1 + 2/128.
        assertThat(Floats.roundToBf16(1 + 1f / 256)).isEqualTo(1f);
        assertThat(Floats.roundToBf16(1 + 3f / 256)).isEqualTo(1 + 2f / 128);
        assertThat(Floats.roundToBf16(Math.nextUp(1 + 1f / 256))).isEqualTo(1 + 1f / 128);
        assertThat(Floats.roundToBf16(-1 - 1f / 256)).isEqualTo(-1f);
    }

    @Test
    void bf16IsTheNearest() {
        Random random = new Random(1);
        for (int n = 0; n < 20_000; n++) {
            float x = Float.intBitsToFloat(random.nextInt());
            if (!Float.isFinite(x) || Float.isInfinite(Floats.roundToBf16(x))) {
                continue;
            }
            int bits = Floats.floatToBf16(x) & 0xffff;
            BigDecimal distance = distance(x, bits);
            // Neighbours in the order of the bits are neighbours in value, up to the sign's end.
            if ((bits & 0x7fff) != 0) {
                assertThat(distance).isLessThanOrEqualTo(distance(x, bits - 1));
            }
            if ((bits & 0x7fff) < 0x7f7f) {
                assertThat(distance).isLessThanOrEqualTo(distance(x, bits + 1));
            }
        }
    }

    private static BigDecimal distance(float x, int bf16) {
        return new BigDecimal(x).subtract(new BigDecimal(Floats.bf16ToFloat((short) bf16))).abs();
    }

    @Test
    void extremesOfBf16() {
        assertThat(Floats.roundToBf16(Float.MAX_VALUE)).isEqualTo(Float.POSITIVE_INFINITY);
        assertThat(Floats.roundToBf16(-Float.MAX_VALUE)).isEqualTo(Float.NEGATIVE_INFINITY);
        assertThat(Floats.roundToBf16(Float.NaN)).isNaN();
        assertThat(Floats.roundToBf16(Float.intBitsToFloat(0x7f800001))).isNaN();
        assertThat(Float.floatToRawIntBits(Floats.roundToBf16(-0f))).isEqualTo(0x80000000);
    }

    @Test
    void f16TiesGoToEven() {
        assertThat(Floats.roundToF16(2049)).isEqualTo(2048);
        assertThat(Floats.roundToF16(2051)).isEqualTo(2052);
        assertThat(Floats.roundToF16(65520)).isEqualTo(Float.POSITIVE_INFINITY);
        assertThat(Floats.round(2049, DType.F16)).isEqualTo(2048);
        assertThat(Floats.round(2049, DType.F32)).isEqualTo(2049);
    }

    @Test
    void elementsAreRoundedIntoMemory() {
        try (Arena arena = Arena.ofConfined()) {
            MemorySegment segment = arena.allocate(16, 8);
            for (DType dtype : new DType[] {DType.F32, DType.F16, DType.BF16}) {
                Floats.set(segment, dtype, 1, 1 + 1f / 512);
                Floats.set(segment, dtype, 2, -3.5f);
                assertThat(Floats.get(segment, dtype, 1))
                        .isEqualTo(Floats.round(1 + 1f / 512, dtype));
                assertThat(Floats.get(segment, dtype, 2)).isEqualTo(-3.5f);
            }
            assertThatThrownBy(() -> Floats.get(segment, DType.I32, 0))
                    .isInstanceOf(IllegalArgumentException.class);
        }
    }
}
