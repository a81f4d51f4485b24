// SPDX-License-Identifier: Apache-2.0
package io.llmc.gpu;

import static java.nio.file.StandardOpenOption.CREATE;
import static java.nio.file.StandardOpenOption.WRITE;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.lang.foreign.Arena;
import java.lang.foreign.FunctionDescriptor;
import java.lang.foreign.Linker;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.SymbolLookup;
import java.lang.foreign.ValueLayout;
import java.lang.invoke.MethodHandle;
import java.nio.channels.FileChannel;
import java.nio.channels.FileLock;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Stream;

/// The stand-in driver: `src/test/cuda` and every kernel family compiled for this processor by g++,
/// and put in the place of NVIDIA's libraries for this process.
///
/// `-Dllmc.standin.flags=-fsanitize=address` compiles it with more flags; the process must then be
/// started with the sanitizer's library.
public final class StandIn {
    private static final Pattern ENTRY = Pattern.compile("\\.entry\\s+(\\w+)");
    private static final List<String> FLAGS =
            List.of(
                    "-std=c++17",
                    "-O2",
                    "-fPIC",
                    "-fvisibility=hidden",
                    "-ffp-contract=off",
                    "-mfma",
                    "-mf16c",
                    "-Wall",
                    "-Wno-unknown-pragmas",
                    "-Wno-unused-function",
                    "-Wno-psabi");

    private static Optional<String> problem;
    private static Path driver;

    private StandIn() {}

    /// Builds what is not built, and points the loader at it.
    ///
    /// @return why there is none: no g++; empty where it is in place
    public static synchronized Optional<String> install() {
        if (problem == null) {
            problem = build();
        }
        return problem;
    }

    /// Changes a setting of the driver: see `driver.cpp`.
    public static void set(String key, String value) {
        try (Arena arena = Arena.ofConfined()) {
            MethodHandle set =
                    Linker.nativeLinker()
                            .downcallHandle(
                                    SymbolLookup.libraryLookup(driver, Arena.global())
                                            .findOrThrow("llmc_standin_set"),
                                    FunctionDescriptor.ofVoid(
                                            ValueLayout.ADDRESS, ValueLayout.ADDRESS));
            set.invoke(arena.allocateFrom(key), arena.allocateFrom(value));
        } catch (Throwable e) {
            throw new IllegalStateException(e);
        }
    }

    /// How often or how much so far: see `llmc_standin_count` in `driver.cpp`.
    public static long count(String key) {
        try (Arena arena = Arena.ofConfined()) {
            MethodHandle count =
                    Linker.nativeLinker()
                            .downcallHandle(
                                    SymbolLookup.libraryLookup(driver, Arena.global())
                                            .findOrThrow("llmc_standin_count"),
                                    FunctionDescriptor.of(
                                            ValueLayout.JAVA_LONG, ValueLayout.ADDRESS));
            return (long) count.invoke(arena.allocateFrom(key));
        } catch (Throwable e) {
            throw new IllegalStateException(e);
        }
    }

    /// The folder of the module `gpu`, from wherever the tests run.
    static Path module() {
        Path here = Path.of("").toAbsolutePath();
        for (Path p = here; p != null; p = p.getParent()) {
            if (Files.isDirectory(p.resolve("gpu/src/main/cuda"))) {
                return p.resolve("gpu");
            }
        }
        throw new IllegalStateException("the folder gpu is not above " + here);
    }

    static List<String> families() {
        try (Stream<Path> files = Files.list(module().resolve("src/main/cuda"))) {
            return files.map(p -> p.getFileName().toString())
                    .filter(n -> n.endsWith(".cu"))
                    .map(n -> n.substring(0, n.length() - 3))
                    .sorted()
                    .toList();
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    private static Optional<String> build() {
        if (!System.getProperty("os.arch").equals("amd64")) {
            return Optional.of("the stand-in driver switches its fibres on x86-64 only");
        }
        if (!hasCompiler()) {
            return Optional.of("g++ is not there to compile the stand-in driver");
        }
        String more = System.getProperty("llmc.standin.flags", "");
        Path target = module().resolve("target/standin" + more.replaceAll("[^a-z]", ""));
        Path sources = module().resolve("src/test/cuda");
        try {
            Files.createDirectories(target);
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
        // Test classes that run side by side want the same one.
        try (FileChannel channel = FileChannel.open(target.resolve("lock"), CREATE, WRITE);
                FileLock _ = channel.lock()) {
            driver = target.resolve("libcuda.so.1");
            Path header = sources.resolve("emulator.hpp");
            compile(
                    driver,
                    List.of(sources.resolve("driver.cpp"), header),
                    List.of("-shared", "-Wl,-soname,libcuda.so.1", "-ldl", "-lpthread"),
                    sources.resolve("driver.cpp"));
            Path blas = sources.resolve("blas.cpp");
            if (Files.exists(blas)) {
                for (int major : new int[] {12, 13}) {
                    String name = "libcublas.so." + major;
                    Path folder = Files.createDirectories(target.resolve("cuda" + major));
                    Path map = folder.resolve("versions.map");
                    Files.writeString(map, name + " { global: cublas*; local: *; };\n");
                    compile(
                            folder.resolve(name),
                            List.of(blas),
                            List.of(
                                    "-shared",
                                    "-Wl,-soname," + name,
                                    "-Wl,--version-script=" + map,
                                    driver.toString()),
                            blas);
                }
            }
            StandIn.kernels(target, header);
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
        System.setProperty("llmc.cuda.driver", driver.toString());
        if (System.getProperty("llmc.cuda.libs") == null) {
            System.setProperty("llmc.cuda.libs", target.resolve("cuda13").toString());
        }
        System.load(driver.toString());
        set("kernels", target.resolve("libkernels.so").toString());
        return Optional.empty();
    }

    private static void kernels(Path target, Path header) throws IOException {
        Path cuda = module().resolve("src/main/cuda");
        List<Path> shared = new ArrayList<>(List.of(header));
        try (Stream<Path> files = Files.list(cuda)) {
            files.filter(p -> p.toString().endsWith(".cuh")).sorted().forEach(shared::add);
        }
        List<Path> objects = new ArrayList<>();
        for (String family : families()) {
            Path source = cuda.resolve(family + ".cu");
            StringBuilder text = new StringBuilder("#define LLMC_STANDIN\n");
            text.append("#include \"").append(source).append("\"\n");
            Matcher entry = ENTRY.matcher(Kernels.ptx(family));
            while (entry.find()) {
                text.append("EMU_KERNEL(").append(entry.group(1)).append(")\n");
            }
            Path unit = target.resolve(family + ".cpp");
            if (!Files.exists(unit) || !Files.readString(unit).equals(text.toString())) {
                Files.writeString(unit, text);
            }
            Path object = target.resolve(family + ".o");
            List<Path> inputs = new ArrayList<>(shared);
            inputs.add(source);
            inputs.add(unit);
            compile(object, inputs, List.of("-c", "-I" + header.getParent(), "-I" + cuda), unit);
            objects.add(object);
        }
        List<String> link = new ArrayList<>(List.of("-shared"));
        objects.stream().skip(1).map(Path::toString).forEach(link::add);
        link.add(driver.toString());
        compile(target.resolve("libkernels.so"), objects, link, objects.get(0));
    }

    private static boolean hasCompiler() {
        try {
            return new ProcessBuilder("g++", "--version")
                            .redirectOutput(ProcessBuilder.Redirect.DISCARD)
                            .redirectError(ProcessBuilder.Redirect.DISCARD)
                            .start()
                            .waitFor()
                    == 0;
        } catch (IOException _) {
            return false;
        } catch (InterruptedException e) {
            throw new IllegalStateException(e);
        }
    }

    private static void compile(Path output, List<Path> inputs, List<String> flags, Path source)
            throws IOException {
        if (isNewer(output, inputs)) {
            return;
        }
        List<String> command = new ArrayList<>(List.of("g++"));
        command.addAll(FLAGS);
        String more = System.getProperty("llmc.standin.flags", "");
        if (!more.isEmpty()) {
            command.addAll(List.of(more.split(" ", -1)));
        }
        Path fresh =
                output.resolveSibling(output.getFileName() + "." + ProcessHandle.current().pid());
        command.addAll(List.of("-o", fresh.toString(), source.toString()));
        command.addAll(flags);
        Process process = new ProcessBuilder(command).redirectErrorStream(true).start();
        String said = new String(process.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
        try {
            if (process.waitFor() != 0) {
                throw new IllegalStateException(String.join(" ", command) + "\n" + said);
            }
        } catch (InterruptedException e) {
            throw new IllegalStateException(e);
        }
        Files.move(fresh, output, java.nio.file.StandardCopyOption.REPLACE_EXISTING);
    }

    private static boolean isNewer(Path output, List<Path> inputs) throws IOException {
        if (!Files.exists(output)) {
            return false;
        }
        for (Path input : inputs) {
            if (Files.getLastModifiedTime(input).compareTo(Files.getLastModifiedTime(output)) > 0) {
                return false;
            }
        }
        return true;
    }

    /// Memory of a native call, for tests that look at bytes.
    public static MemorySegment bytes(long n) {
        return Arena.ofAuto().allocate(n, 64);
    }
}
