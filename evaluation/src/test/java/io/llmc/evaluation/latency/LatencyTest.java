// SPDX-License-Identifier: Apache-2.0
package io.llmc.evaluation.latency;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import io.llmc.backend.Backend;
import io.llmc.backend.BackendOptions;
import io.llmc.backend.cpu.CpuBackend;
import io.llmc.formats.TestFiles;
import io.llmc.formats.UserException;
import io.llmc.model.arch.Models;
import io.llmc.pipeline.Progress;
import io.llmc.tensor.DType;
import java.nio.file.Path;
import java.util.List;
import java.util.OptionalDouble;
import org.junit.jupiter.api.Test;

class LatencyTest {
    private static final Path TALE = TestFiles.testdata().resolve("tale-llama");

    private static LatencySpec spec(Path against) {
        return new LatencySpec(
                against, List.of(40, 100_000), List.of(8), List.of(1, 3), 2, 3, DType.F32);
    }

    @Test
    void bothModelsAreTimedInTurns() {
        try (Backend backend = new CpuBackend(new BackendOptions(2, BackendOptions.Math.AUTO));
                LatencyRun run =
                        new LatencyRun(
                                Models.of(TALE),
                                spec(TALE),
                                backend,
                                Progress.NONE,
                                Long.MAX_VALUE,
                                new WarmUp(0))) {
            LatencyResult result = (LatencyResult) run.run();
            assertThat(backend.host().peak()).isLessThanOrEqualTo(run.bytes());
            // What is longer than the positions is left out.
            assertThat(result.prompts()).hasSize(1);
            assertThat(result.decodings()).hasSize(2);
            LatencyResult.Decoding d = result.decodings().getLast();
            assertThat(d.batch()).isEqualTo(3);
            assertThat(d.model().tokens()).isEqualTo(6);
            assertThat(d.model().steps()).hasSize(6).isSorted();
            assertThat(d.original().totals()).hasSize(3);
            assertThat(d.speedup().low()).isLessThanOrEqualTo(d.speedup().ratio());
            assertThat(result.figures())
                    .containsKeys(
                            "time_to_first_token",
                            "decode_tokens_per_second",
                            "decode_speedup",
                            "decode_speedup_low",
                            "latency");
        }
    }

    @Test
    void aCapBelowWhatItTakesIsRefused() {
        try (Backend backend = new CpuBackend(new BackendOptions(2, BackendOptions.Math.AUTO))) {
            assertThatThrownBy(() ->
                            new LatencyRun(
                                    Models.of(TALE),
                                    spec(null),
                                    backend,
                                    Progress.NONE,
                                    1 << 20,
                                    new WarmUp(0)))
                    .isInstanceOf(UserException.class)
                    .hasMessageContaining("memory");
        }
    }

    @Test
    void percentilesLieBetweenNeighbours() {
        Timing t =
                new Timing(
                        10,
                        new double[] {4, 1, 2},
                        new double[] {3, 1, 2, 4},
                        OptionalDouble.empty(),
                        1);
        assertThat(t.roofline()).isEqualTo(0.5);
        assertThat(t.median()).isEqualTo(2);
        assertThat(t.tokensPerSecond()).isEqualTo(5);
        assertThat(t.slowest()).isEqualTo(2.5);
        assertThat(t.percentile(0.5)).isEqualTo(2.5);
        assertThat(t.percentile(0.9)).isCloseTo(3.7, within(1e-12));
        assertThat(t.percentile(1)).isEqualTo(4);
    }

    /// By hand: logarithms of the ratios 2, 2, 4 have the mean 4/3 ln 2 and the deviation ln 2 /
    /// sqrt(3); t of two degrees of freedom is 4.303.
    @Test
    void anIntervalOfPairs() {
        Speedup s = Speedup.of(new double[] {1, 2, 1}, new double[] {2, 4, 4});
        double half = 4.303 * Math.log(2) / Math.sqrt(3) / Math.sqrt(3);
        assertThat(s.ratio()).isCloseTo(Math.pow(2, 4 / 3.0), within(1e-12));
        assertThat(s.high()).isCloseTo(s.ratio() * Math.exp(half), within(1e-9));
        assertThat(s.low()).isCloseTo(s.ratio() * Math.exp(-half), within(1e-9));
    }
}
