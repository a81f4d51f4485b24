// SPDX-License-Identifier: Apache-2.0
package io.llmc.backend;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assumptions.assumeThat;

import io.llmc.backend.cpu.CpuBackend;
import io.llmc.tensor.DType;
import io.llmc.tensor.Shape;
import io.llmc.tensor.Tensor;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import org.junit.jupiter.api.Test;

/// Whether the system has been asked for large pages.
class LargePagesTest {
    private static final Path MAPS = Path.of("/proc/self/smaps");

    @Test
    void largeArenasAskForThem() throws IOException {
        assumeThat(MAPS).exists();
        assumeThat(Path.of("/sys/kernel/mm/transparent_hugepage")).exists();
        try (Backend backend = new CpuBackend(new BackendOptions(1, BackendOptions.Math.AUTO));
                TensorArena arena = backend.newArena(1 << 26)) {
            Tensor x = arena.allocate(DType.F32, new Shape(1 << 24));
            assertThat(flags(x.bytes().address() + (1 << 25))).contains("hg");
        }
    }

    /// Of the mapping that has this address.
    private static String flags(long address) throws IOException {
        boolean inside = false;
        for (String line : Files.readAllLines(MAPS)) {
            if (line.matches("[0-9a-f]+-[0-9a-f]+ .*")) {
                String[] range = line.substring(0, line.indexOf(' ')).split("-", -1);
                inside =
                        Long.compareUnsigned(Long.parseUnsignedLong(range[0], 16), address) <= 0
                                && Long.compareUnsigned(
                                                address, Long.parseUnsignedLong(range[1], 16))
                                        < 0;
            } else if (inside && line.startsWith("VmFlags:")) {
                return line;
            }
        }
        return "";
    }
}
