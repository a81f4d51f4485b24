// SPDX-License-Identifier: Apache-2.0
package io.llmc.gpu;

import static jcuda.nvptxcompiler.JNvPTXCompiler.nvPTXCompilerCompile;
import static jcuda.nvptxcompiler.JNvPTXCompiler.nvPTXCompilerCreate;
import static jcuda.nvptxcompiler.JNvPTXCompiler.nvPTXCompilerDestroy;
import static jcuda.nvptxcompiler.JNvPTXCompiler.nvPTXCompilerGetErrorLog;
import static jcuda.nvptxcompiler.JNvPTXCompiler.nvPTXCompilerGetErrorLogSize;
import static jcuda.nvptxcompiler.JNvPTXCompiler.nvPTXCompilerGetInfoLog;
import static jcuda.nvptxcompiler.JNvPTXCompiler.nvPTXCompilerGetInfoLogSize;
import static org.assertj.core.api.Assertions.assertThat;

import io.llmc.gpu.driver.Natives;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.MessageDigest;
import java.util.HexFormat;
import java.util.List;
import java.util.regex.Pattern;
import java.util.stream.Stream;
import jcuda.nvptxcompiler.JNvPTXCompiler;
import jcuda.nvptxcompiler.nvPTXCompilerHandle;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.DynamicTest;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.TestFactory;

/// The PTX that ships: made from the sources beside it, and good for every device that llmc
/// supports.
@Tag("long")
class PtxTest {
    /// The oldest. The compiler inside of JCuda's natives is that of CUDA 12.0: .ci/run assembles
    /// for later ones.
    private static final List<String> ARCHITECTURES = List.of("sm_80");

    private static final int MOST_SPILLED_BYTES = 48;

    private static final Pattern SPILLS = Pattern.compile("([0-9]+) bytes spill stores");

    @BeforeAll
    static void compiler() throws IOException {
        Natives.initialize("JNvPTXCompiler", "jcuda.nvptxcompiler.JNvPTXCompiler", List.of());
        JNvPTXCompiler.setExceptionsEnabled(false);
    }

    @TestFactory
    Stream<DynamicTest> assembles() {
        return StandIn.families().stream()
                .flatMap(f ->
                        ARCHITECTURES.stream()
                                .map(a ->
                                        DynamicTest.dynamicTest(
                                                f + " for " + a, () -> assertAssembles(f, a))));
    }

    private static void assertAssembles(String family, String architecture) {
        String ptx = Kernels.ptx(family);
        assertThat(ptx).contains(".version 7.0").contains(".target sm_80");
        String log = assemble(ptx, architecture);
        // A few registers that do not fit wait in memory while a loop goes on; a kernel that spills
        // more works through memory, and would be faster with smaller tiles.
        assertThat(
                        SPILLS.matcher(log)
                                .results()
                                .mapToInt(m -> Integer.parseInt(m.group(1)))
                                .max()
                                .orElse(0))
                .describedAs(log)
                .isLessThanOrEqualTo(MOST_SPILLED_BYTES);
    }

    /// @return what the compiler says of registers and memory
    private static String assemble(String ptx, String architecture) {
        byte[] source = (ptx + "\0").getBytes(StandardCharsets.US_ASCII);
        nvPTXCompilerHandle handle = new nvPTXCompilerHandle();
        assertThat(nvPTXCompilerCreate(handle, source.length, source)).isZero();
        try {
            String[] options = {"--gpu-name=" + architecture, "--verbose"};
            int code = nvPTXCompilerCompile(handle, options.length, options);
            long[] size = new long[1];
            if (code != 0) {
                nvPTXCompilerGetErrorLogSize(handle, size);
                byte[] log = new byte[(int) size[0] + 1];
                nvPTXCompilerGetErrorLog(handle, log);
                throw new AssertionError(new String(log, StandardCharsets.US_ASCII));
            }
            nvPTXCompilerGetInfoLogSize(handle, size);
            byte[] log = new byte[(int) size[0] + 1];
            nvPTXCompilerGetInfoLog(handle, log);
            return new String(log, StandardCharsets.US_ASCII);
        } finally {
            nvPTXCompilerDestroy(handle);
        }
    }

    @TestFactory
    Stream<DynamicTest> isMadeFromTheSources() {
        return StandIn.families().stream()
                .map(f -> DynamicTest.dynamicTest(f, () -> assertCurrent(f)));
    }

    private static void assertCurrent(String family) throws Exception {
        Path cuda = StandIn.module().resolve("src/main/cuda");
        MessageDigest digest = MessageDigest.getInstance("SHA-256");
        digest.update(Files.readAllBytes(cuda.resolve(family + ".cu")));
        headers(cuda).forEach(h -> digest.update(bytes(h)));
        Path recorded =
                StandIn.module().resolve("src/main/resources/io/llmc/gpu/" + family + ".sha256");
        assertThat(recorded)
                .describedAs("%s.cu or a .cuh has changed: run gpu/src/main/cuda/build", family)
                .hasContent(HexFormat.of().formatHex(digest.digest()));
    }

    private static List<Path> headers(Path cuda) throws IOException {
        try (Stream<Path> files = Files.list(cuda)) {
            return files.filter(p -> p.toString().endsWith(".cuh")).sorted().toList();
        }
    }

    private static byte[] bytes(Path file) {
        try {
            return Files.readAllBytes(file);
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    @Test
    void hasNoFileOfAFamilyThatIsGone() throws IOException {
        try (Stream<Path> files =
                Files.list(StandIn.module().resolve("src/main/resources/io/llmc/gpu"))) {
            assertThat(
                            files.map(p -> p.getFileName().toString().replaceAll("\\..*", ""))
                                    .distinct())
                    .containsExactlyInAnyOrderElementsOf(StandIn.families());
        }
    }

    @Test
    void namesNoMachine() {
        for (String family : StandIn.families()) {
            assertThat(Kernels.ptx(family)).doesNotContain("/home", "/tmp", "/work", "/root");
        }
    }
}
