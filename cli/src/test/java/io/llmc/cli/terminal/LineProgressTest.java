// SPDX-License-Identifier: Apache-2.0
package io.llmc.cli.terminal;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.PrintWriter;
import java.io.StringWriter;
import org.junit.jupiter.api.Test;

class LineProgressTest {
    private final StringWriter err = new StringWriter();
    private long now;
    private final LineProgress progress = new LineProgress(new PrintWriter(err), () -> now);

    private void pass(double seconds) {
        now += (long) (seconds * 1e9);
    }

    @Test
    void oneLineEveryFewSecondsWithTheTimeThatIsLeft() {
        progress.begin("compressing", 10);
        for (int i = 0; i < 10; i++) {
            pass(3);
            progress.advance(1, "block " + i);
        }
        progress.end();
        assertThat(err.toString().lines())
                .containsExactly(
                        "compressing ...",
                        "compressing 2/10, 24 s left: block 1",
                        "compressing 4/10, 18 s left: block 3",
                        "compressing 6/10, 12 s left: block 5",
                        "compressing 8/10, 6.0 s left: block 7",
                        "compressing done in 30 s");
    }

    @Test
    void blocksOfAnEarlierRunDoNotCountAsSpeed() {
        progress.begin("compressing", 10);
        progress.advance(8, "");
        pass(10);
        progress.advance(1, "block 8");
        assertThat(err.toString()).contains("compressing 9/10, 10 s left: block 8");
    }

    @Test
    void timesAreReadable() {
        assertThat(Durations.format(0.04)).isEqualTo("0.0 s");
        assertThat(Durations.format(59.4)).isEqualTo("59 s");
        assertThat(Durations.format(185)).isEqualTo("3 min 05 s");
        assertThat(Durations.format(7800)).isEqualTo("2 h 10 min");
    }
}
