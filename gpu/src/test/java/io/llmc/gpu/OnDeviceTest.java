// SPDX-License-Identifier: Apache-2.0
package io.llmc.gpu;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import java.io.ByteArrayOutputStream;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.HashMap;
import java.util.Map;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/// The check for real devices, on the stand-in driver and in small.
@Tag("long")
class OnDeviceTest {
    @TempDir private Path dir;

    @BeforeAll
    static void standIn() {
        var problem = StandIn.install();
        assumeTrue(problem.isEmpty(), problem.orElse(""));
    }

    private final ByteArrayOutputStream said = new ByteArrayOutputStream();

    private int run(String ops, Map<String, String> more) throws Exception {
        Path driver = Path.of(System.getProperty("llmc.cuda.driver"));
        Map<String, String> environment = new HashMap<>(more);
        environment.put("LLMC_CUDA_DRIVER", driver.toString());
        environment.put("LLMC_CUDA_LIBS", System.getProperty("llmc.cuda.libs"));
        environment.put("LLMC_STANDIN_KERNELS", driver.resolveSibling("libkernels.so").toString());
        environment.put("JAVA_TOOL_OPTIONS", "-Dllmc.ondevice.scale=512 -Dllmc.ops=" + ops);
        System.setProperty("llmc.ops", ops);
        try {
            return new OnDevice(environment, new PrintStream(said, true, StandardCharsets.UTF_8))
                    .report(dir);
        } finally {
            System.clearProperty("llmc.ops");
        }
    }

    private String report() throws Exception {
        return Files.readString(dir.resolve("gpu.md"));
    }

    @Test
    void everythingIsTimedAndAFewCasesAgree() throws Exception {
        assertThat(run("(?!Matmul|Attention|.*Grad).*", Map.of()))
                .as(said.toString(StandardCharsets.UTF_8))
                .isZero();
        assertThat(report())
                .contains("llmc stand-in", "version 130000", "| RoundToGrid | ", "GB/s")
                .contains("TFLOP/s at n = 64", "What was wrong: 0");
    }

    @Test
    void aKernelThatFailsIsNamedAndTheRestGoesOn() throws Exception {
        assertThat(run("Softcap|Transpose", Map.of("LLMC_STANDIN_FAIL", "softcap:1"))).isOne();
        assertThat(report())
                .containsPattern("cases: softcap .*LAUNCH_FAILED")
                .contains("left out after what came before", "| Transpose | ", "cases: ")
                .contains("times: Softcap: ");
    }
}
