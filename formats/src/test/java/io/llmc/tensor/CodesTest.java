// SPDX-License-Identifier: Apache-2.0
package io.llmc.tensor;

import static org.assertj.core.api.Assertions.assertThat;

import java.util.Random;
import org.junit.jupiter.api.Test;

final class CodesTest {
    private static final Codes.Floats E4M3 = Codes.Floats.E4M3;

    /// The definition of the type: a sign, four bits of exponent, three of mantissa.
    @Test
    void floatsMeanWhatTheirBitsSay() {
        for (int code = 0; code < 256; code++) {
            int exponent = code >> 3 & 15;
            int mantissa = code & 7;
            double magnitude =
                    exponent == 0
                            ? mantissa * Math.pow(2, -9)
                            : (1 + mantissa / 8.0) * Math.pow(2, exponent - 7);
            double expected =
                    (code & 0x7f) == 0x7f ? Double.NaN : code < 128 ? magnitude : -magnitude;
            assertThat(Double.valueOf(E4M3.value(code))).isEqualTo(Double.valueOf(expected));
            assertThat(E4M3.value((byte) code) + "").isEqualTo(E4M3.value(code) + "");
        }
    }

    @Test
    void everyFloatHasItsOwnCode() {
        for (int code = 0; code < 256; code++) {
            assertThat(E4M3.code(E4M3.value(code))).as("%x", code).isEqualTo(code);
        }
    }

    /// Against a search of all codes.
    @Test
    void roundsToTheNearestAndHalfToEven() {
        Random random = new Random(1);
        for (int i = 0; i < 20_000; i++) {
            float x = (float) (random.nextGaussian() * Math.pow(2, random.nextInt(-12, 10)));
            if (i % 4 == 0) {
                int low = random.nextInt(0x7e);
                x = (E4M3.value(low) + E4M3.value(low + 1)) / 2;
            }
            int best = 0;
            for (int code = 0; code < 0x7f; code++) {
                float d = Math.abs(E4M3.value(code) - Math.abs(x));
                float least = Math.abs(E4M3.value(best) - Math.abs(x));
                if (d < least || (d == least && code % 2 == 0)) {
                    best = code;
                }
            }
            assertThat(E4M3.code(x)).as("%s", x).isEqualTo(x < 0 ? best | 0x80 : best);
        }
        assertThat(E4M3.nearest(Float.POSITIVE_INFINITY)).isEqualTo(448);
        assertThat(E4M3.nearest(-1000)).isEqualTo(-448);
        assertThat(E4M3.nearest(Float.NaN)).isNaN();
    }

    @Test
    void integersKeepTheirEnds() {
        var four = new Codes.Ints(4, true);
        assertThat(four.reach()).isEqualTo(7.5f);
        assertThat(four.nearest(7.5f)).isEqualTo(7);
        assertThat(four.nearest(-9)).isEqualTo(-8);
        assertThat(four.nearest(2.5f)).isEqualTo(2);
        assertThat(four.value(15, 8)).isEqualTo(7);
    }

    @Test
    void fourBitFloatsRoundToTheNearestAndHalfToEven() {
        Codes.Floats e2m1 = Codes.Floats.E2M1;
        float[] values = {0, 0.5f, 1, 1.5f, 2, 3, 4, 6};
        for (int code = 0; code < 16; code++) {
            assertThat(e2m1.value(code)).isEqualTo(code < 8 ? values[code] : -values[code - 8]);
            assertThat(e2m1.code(e2m1.value(code))).isEqualTo(code);
        }
        for (int code = 0; code < 7; code++) {
            float half = (values[code] + values[code + 1]) / 2;
            int even = code + code % 2;
            assertThat(e2m1.code(half)).isEqualTo(even);
            assertThat(e2m1.code(-half)).isEqualTo(even | 8);
            assertThat(e2m1.code(Math.nextDown(half))).isEqualTo(code);
            assertThat(e2m1.code(Math.nextUp(half))).isEqualTo(code + 1);
        }
        assertThat(e2m1.nearest(Float.POSITIVE_INFINITY)).isEqualTo(6);
        assertThat(e2m1.nearest(-7)).isEqualTo(-6);
    }

    @Test
    void powersAreTheFloatsWithThatExponent() {
        for (int e = 0; e < 255; e++) {
            assertThat((double) ScaleKind.power(e)).isEqualTo(Math.pow(2, e - 127));
        }
        assertThat(ScaleKind.power(255)).isNaN();
    }
}
