// SPDX-License-Identifier: Apache-2.0
package io.llmc.cli.report.html;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import java.util.List;
import java.util.Random;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class ScaleTest {
    @Test
    void ticksAreRoundAFewAndHoldTheFigures() {
        Random random = new Random(4);
        for (int trial = 0; trial < 2000; trial++) {
            double least = random.nextGaussian() * Math.pow(10, random.nextInt(12) - 6);
            double most = least + random.nextDouble() * Math.pow(10, random.nextInt(12) - 6);
            Scale linear = Scale.linear(least, most, 0, 100);
            List<Double> ticks = linear.ticks();
            double slack = 1e-6 * (linear.high() - linear.low());
            assertThat(linear.low()).isLessThanOrEqualTo(least + slack);
            assertThat(linear.high()).isGreaterThanOrEqualTo(most - slack);
            assertThat(ticks).as("%s to %s", least, most).hasSizeBetween(2, 14);
            assertThat(ticks)
                    .allMatch(t -> t >= linear.low() - slack && t <= linear.high() + slack);
        }
    }

    @Test
    void decadesAreEquallyFarApart() {
        Scale log = Scale.log(3e-7, 20, 100, 900);
        assertThat(log.low()).isCloseTo(1e-7, within(1e-15));
        assertThat(log.high()).isCloseTo(100, within(1e-9));
        assertThat(log.at(1e-6) - log.at(1e-7)).isCloseTo(800 / 9.0, within(1e-6));
        assertThat(log.at(10) - log.at(1)).isCloseTo(800 / 9.0, within(1e-6));
        assertThat(log.at(1e-12)).isEqualTo(100);
        assertThat(log.ticks()).hasSizeBetween(3, 7);
    }

    @ParameterizedTest
    @CsvSource({
        "0, 0",
        "1, 1",
        "0.00312345, 0.00312",
        "0.000012345, 1.23e-05",
        "1e-7, 1e-07",
        "12.449, 12.4",
        "1040.4, 1040",
        "-0.5, -0.5",
        "123456, 123500",
        "23456789, 2.35e+07",
        "1.9999, 2"
    })
    void figuresHaveThreeDigits(double x, String text) {
        assertThat(Numbers.shortest(x)).isEqualTo(text);
    }
}
