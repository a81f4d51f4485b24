// SPDX-License-Identifier: Apache-2.0
package io.llmc.gpu.driver;

import java.io.FileNotFoundException;
import java.io.IOException;
import java.io.InputStream;
import java.io.UncheckedIOException;
import java.lang.foreign.Arena;
import java.lang.foreign.SymbolLookup;
import java.nio.file.DirectoryStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import java.util.Locale;
import java.util.Optional;
import java.util.stream.Stream;

/// Finds NVIDIA's libraries, and makes JCuda's own use them.
///
/// JCuda takes whatever file of the right name lies in `java.io.tmpdir`, which others can write to,
/// and its cuBLAS bindings ask for the major version 12. So each of its libraries is written to a
/// fresh folder of our own first, there pointed at the version that was found, loaded, and deleted.
public final class Natives {
    /// Names the file of the driver to load, for a driver that the system does not know; `none` for
    /// a machine whose GPUs are not wanted.
    static final String DRIVER = "LLMC_CUDA_DRIVER";

    private static final String NONE = "none";

    /// Folders of CUDA libraries, `:` between them, asked before all others.
    static final String LIBRARIES = "LLMC_CUDA_LIBS";

    private static final String DRIVER_NAME = "libcuda.so.1";
    private static final int BUILT_FOR = 12;
    private static final int NEWEST = 13;

    private Natives() {}

    /// @param major the version in its name
    record Library(Path path, int major) {}

    private static final class Driver {
        static final Optional<String> MISSING = load();

        private static Optional<String> load() {
            if (!System.getProperty("os.name").equals("Linux")
                    || !System.getProperty("os.arch").equals("amd64")) {
                return Optional.of("JCuda's libraries are for Linux on x86-64");
            }
            String named = setting(DRIVER);
            try {
                if (named != null) {
                    if (!Files.isRegularFile(Path.of(named))) {
                        return Optional.of(
                                "no NVIDIA driver: %s=%s is no file".formatted(DRIVER, named));
                    }
                    System.load(Path.of(named).toAbsolutePath().toString());
                } else if (!systemHas(DRIVER_NAME)) {
                    return Optional.of("no NVIDIA driver: " + DRIVER_NAME + " was not found");
                }
                initialize("JCudaDriver", "jcuda.driver.JCudaDriver", List.of());
                return Optional.empty();
            } catch (UnsatisfiedLinkError | IOException e) {
                return Optional.of("the NVIDIA driver cannot be loaded: " + e.getMessage());
            }
        }
    }

    private static final class Blas {
        static final String MISSING = "cuBLAS was not found";
        static final Optional<Library> FOUND = find("libcublas.so");
        static final Optional<String> PROBLEM = load();

        private static Optional<String> load() {
            if (FOUND.isEmpty()) {
                return Optional.of(MISSING);
            }
            Library blas = FOUND.get();
            try {
                // libcublas asks for it by a name that only the loader's own folders answer.
                Path lt = blas.path.resolveSibling("libcublasLt.so." + blas.major);
                if (Files.isRegularFile(lt)) {
                    System.load(lt.toString());
                }
                System.load(blas.path.toString());
                String of = "libcublas.so.";
                initialize(
                        "JCublas2",
                        "jcuda.jcublas.JCublas2",
                        List.of(of + BUILT_FOR, of + blas.major));
                return Optional.empty();
            } catch (UnsatisfiedLinkError | IOException e) {
                return Optional.of(blas.path + " cannot be loaded: " + e.getMessage());
            }
        }
    }

    /// Whether somebody has said that there are no GPUs for us.
    public static boolean unwanted() {
        return NONE.equals(setting(DRIVER));
    }

    /// Loads the driver at the first call.
    ///
    /// @return why it cannot be used; empty where it can
    public static Optional<String> driverProblem() {
        return Driver.MISSING;
    }

    /// Loads cuBLAS at the first call.
    ///
    /// @return why it cannot be used; empty where it can
    public static Optional<String> blasProblem() {
        return Blas.PROBLEM;
    }

    /// What a person wants to know of cuBLAS. Loads nothing.
    public static String describeBlas() {
        return find("libcublas.so")
                .map(l -> "cuBLAS " + l.major + " in " + l.path.getParent())
                .orElse("no cuBLAS, own kernels");
    }

    private static boolean systemHas(String library) {
        try (Arena arena = Arena.ofConfined()) {
            SymbolLookup.libraryLookup(library, arena);
            return true;
        } catch (IllegalArgumentException _) {
            return false;
        }
    }

    /// A variable of the environment, or the system property that tests set in its place:
    /// `llmc.cuda.driver` for `LLMC_CUDA_DRIVER`.
    private static String setting(String variable) {
        String property = variable.toLowerCase(Locale.ROOT).replace('_', '.');
        String set = System.getProperty(property, System.getenv(variable));
        return set == null || set.isEmpty() ? null : set;
    }

    /// The newest version of a library in the first folder that has one.
    static Optional<Library> find(String base) {
        for (Path folder : folders()) {
            for (int major = NEWEST; major >= BUILT_FOR; major--) {
                Path path = folder.resolve(base + "." + major);
                if (Files.isRegularFile(path)) {
                    return Optional.of(new Library(path.toAbsolutePath(), major));
                }
            }
        }
        return Optional.empty();
    }

    private static List<Path> folders() {
        List<Path> folders = new ArrayList<>();
        String own = setting(LIBRARIES);
        if (own != null) {
            split(own).forEach(folders::add);
            return folders; // who names folders means these
        }
        String system = System.getenv("LD_LIBRARY_PATH");
        if (system != null) {
            split(system).forEach(folders::add);
        }
        folders.add(Path.of("/usr/local/cuda/lib64"));
        inside(Path.of("/usr/local"), "cuda-*", "lib64").forEach(folders::add);
        inside(Path.of("/opt"), "cuda*", "lib64").forEach(folders::add);
        Stream.of("/usr/lib/x86_64-linux-gnu", "/usr/lib64", "/usr/local/nvidia/lib64")
                .map(Path::of)
                .forEach(folders::add);
        python().forEach(folders::add);
        return folders;
    }

    /// Where `pip install` puts NVIDIA's packages: `site-packages/nvidia/*/lib`.
    private static Stream<Path> python() {
        String environment = System.getenv("VIRTUAL_ENV");
        String conda = System.getenv("CONDA_PREFIX");
        return Stream.of(
                        environment,
                        conda,
                        System.getProperty("user.home") + "/.local",
                        "/usr/local",
                        "/usr")
                .filter(root -> root != null && !root.isEmpty())
                .flatMap(root -> inside(Path.of(root, "lib"), "python3*", ""))
                .flatMap(lib ->
                        Stream.of("site-packages/nvidia", "dist-packages/nvidia")
                                .flatMap(site -> inside(lib.resolve(site), "*", "lib")));
    }

    private static Stream<Path> split(String paths) {
        return Stream.of(paths.split(":", -1)).filter(p -> !p.isEmpty()).map(Path::of);
    }

    private static Stream<Path> inside(Path folder, String glob, String below) {
        try (DirectoryStream<Path> entries = Files.newDirectoryStream(folder, glob)) {
            List<Path> found = new ArrayList<>();
            entries.forEach(found::add);
            found.sort(Comparator.reverseOrder());
            return found.stream().map(p -> p.resolve(below));
        } catch (IOException _) {
            return Stream.empty(); // not there
        }
    }

    /// Loads one of JCuda's libraries by initializing the class that wants it.
    ///
    /// @param renamed the library it asks for and the one it gets, or nothing
    public static void initialize(String library, String owner, List<String> renamed)
            throws IOException {
        String file = "lib" + library + "-12.6.0-linux-x86_64.so";
        Path folder = Files.createTempDirectory("llmc-jcuda");
        Path copy = folder.resolve(file);
        String temporary = System.getProperty("java.io.tmpdir");
        try {
            byte[] bytes = resource("/lib/" + file);
            boolean same = renamed.isEmpty() || renamed.get(0).equals(renamed.get(1));
            Files.write(
                    copy, same ? bytes : ElfRetarget.needed(bytes, renamed.get(0), renamed.get(1)));
            System.setProperty("java.io.tmpdir", folder.toString());
            Class.forName(owner);
        } catch (ClassNotFoundException | ExceptionInInitializerError | NoClassDefFoundError e) {
            throw new IOException(e);
        } finally {
            System.setProperty("java.io.tmpdir", temporary);
            Files.deleteIfExists(copy); // a loaded library lives on without its name
            Files.deleteIfExists(folder);
        }
    }

    private static byte[] resource(String name) throws IOException {
        try (InputStream in = jcuda.Pointer.class.getResourceAsStream(name)) {
            if (in == null) {
                throw new FileNotFoundException(name + " is not in JCuda's jar");
            }
            return in.readAllBytes();
        } catch (UncheckedIOException e) {
            throw e.getCause();
        }
    }
}
