// SPDX-License-Identifier: Apache-2.0
package io.llmc.gpu.driver;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import io.llmc.backend.Backend;
import io.llmc.backend.BackendOptions;
import io.llmc.formats.UserException;
import io.llmc.gpu.CudaBackendProvider;
import io.llmc.gpu.StandIn;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.zip.ZipFile;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/// Libraries that are there, and those that are not. Each in a process of its own: a process loads
/// a library once.
@Tag("long")
class NativesTest {
    @TempDir private Path dir;

    /// What a process says that lists devices and opens the first one as it is told.
    public static final class Main {
        public static void main(String[] math) {
            var provider = new CudaBackendProvider();
            var first = provider.devices().getFirst();
            System.out.println(first);
            if (!first.usable()) {
                return;
            }
            var options = new BackendOptions(1, BackendOptions.Math.valueOf(math[0]));
            try (Backend backend = provider.open(first.name(), options)) {
                System.out.println("opened " + backend.device());
            } catch (UserException e) {
                System.out.println(e.getMessage() + "; " + e.hint());
            }
        }
    }

    private static String run(String driver, String libraries, String math) throws Exception {
        List<String> command = new ArrayList<>();
        command.add(Path.of(System.getProperty("java.home"), "bin", "java").toString());
        command.add("--enable-native-access=ALL-UNNAMED");
        command.add("-Dllmc.cuda.driver=" + driver);
        command.add("-Dllmc.cuda.libs=" + libraries);
        command.addAll(List.of("-cp", System.getProperty("java.class.path")));
        command.addAll(List.of(Main.class.getName(), math));
        Process process = new ProcessBuilder(command).redirectErrorStream(true).start();
        String said = new String(process.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
        assertThat(process.waitFor()).as(said).isZero();
        return said;
    }

    private static String driver() {
        var problem = StandIn.install();
        assumeTrue(problem.isEmpty(), problem.orElse(""));
        return System.getProperty("llmc.cuda.driver");
    }

    @Test
    void aDriverThatIsMissingIsNamed() throws Exception {
        Path missing = dir.resolve("libcuda.so.1");
        assertThat(run(missing.toString(), "", "AUTO"))
                .contains("usable=false", "no NVIDIA driver", missing.toString());
    }

    @Test
    void aDriverThatIsNoLibraryIsNamed() throws Exception {
        Path broken = Files.writeString(dir.resolve("libcuda.so.1"), "no library");
        assertThat(run(broken.toString(), "", "AUTO"))
                .contains("usable=false", "cannot be loaded", broken.toString());
    }

    @Test
    void withoutCublasOwnKernelsDo() throws Exception {
        assertThat(run(driver(), dir.toString(), "AUTO"))
                .contains("no cuBLAS, own kernels", "opened cuda:0");
    }

    @Test
    void whoAsksForCublasHearsThatItIsMissing() throws Exception {
        assertThat(run(driver(), dir.toString(), "CUBLAS"))
                .contains("cuBLAS was not found", "LLMC_CUDA_LIBS", "{math}");
    }

    @Test
    void cublasOfBothMajorVersionsLoads() throws Exception {
        for (int major : new int[] {12, 13}) {
            Path folder = Path.of(driver()).resolveSibling("cuda" + major);
            assertThat(run(driver(), folder.toString(), "CUBLAS"))
                    .contains("cuBLAS " + major, "opened cuda:0");
        }
    }

    @Test
    void aNeededLibraryIsRenamedAndNothingElse() throws IOException {
        byte[] library = jcublas();
        byte[] other = ElfRetarget.needed(library, "libcublas.so.12", "libcublas.so.13");
        int differing = 0;
        for (int i = 0; i < library.length; i++) {
            differing += library[i] == other[i] ? 0 : 1;
        }
        // The digit of the name, and the last byte of the hash of its symbol version.
        assertThat(differing).isEqualTo(2);
        assertThat(ElfRetarget.needed(other, "libcublas.so.13", "libcublas.so.12"))
                .isEqualTo(library);
        assertThatThrownBy(() -> ElfRetarget.needed(library, "libnothere.so.1", "libnothere.so.2"))
                .hasMessageContaining("libnothere.so.1");
        assertThatThrownBy(() -> ElfRetarget.needed(new byte[100], "a", "b"))
                .hasMessageContaining("ELF");
    }

    private static byte[] jcublas() throws IOException {
        String name = "lib/libJCublas2-12.6.0-linux-x86_64.so";
        for (String entry : System.getProperty("java.class.path").split(":", -1)) {
            if (entry.contains("jcublas-natives")) {
                try (ZipFile jar = new ZipFile(entry)) {
                    return jar.getInputStream(jar.getEntry(name)).readAllBytes();
                }
            }
        }
        throw new IllegalStateException("jcublas-natives is not on the class path");
    }
}
