// SPDX-License-Identifier: Apache-2.0
package io.llmc.backend.bench;

import io.llmc.backend.Backend;
import io.llmc.backend.BackendOptions;
import io.llmc.backend.TensorArena;
import io.llmc.backend.cpu.CpuBackend;
import java.util.ArrayList;
import java.util.Collection;
import java.util.List;
import java.util.concurrent.TimeUnit;
import org.openjdk.jmh.annotations.Benchmark;
import org.openjdk.jmh.annotations.BenchmarkMode;
import org.openjdk.jmh.annotations.Fork;
import org.openjdk.jmh.annotations.Level;
import org.openjdk.jmh.annotations.Measurement;
import org.openjdk.jmh.annotations.Mode;
import org.openjdk.jmh.annotations.OutputTimeUnit;
import org.openjdk.jmh.annotations.Param;
import org.openjdk.jmh.annotations.Scope;
import org.openjdk.jmh.annotations.Setup;
import org.openjdk.jmh.annotations.State;
import org.openjdk.jmh.annotations.TearDown;
import org.openjdk.jmh.annotations.Warmup;
import org.openjdk.jmh.results.RunResult;
import org.openjdk.jmh.runner.Runner;
import org.openjdk.jmh.runner.RunnerException;
import org.openjdk.jmh.runner.options.OptionsBuilder;
import org.openjdk.jmh.runner.options.TimeValue;

/// Times every kernel, and what this machine could do at most, in one run:
///
///     mvn -Pjmh -pl model/backend -am -DskipTests verify
///
/// A kernel that computes is compared with a loop of multiply-adds in registers on all processors, one
/// that moves bytes with a triad over arrays that fit no cache. What fits a cache may exceed 100 %.
@BenchmarkMode(Mode.AverageTime)
@OutputTimeUnit(TimeUnit.NANOSECONDS)
@Warmup(iterations = 3, time = 1)
@Measurement(iterations = 5, time = 1)
@Fork(
        value = 1,
        jvmArgsAppend = {
            "--add-modules=jdk.incubator.vector",
            "--enable-native-access=ALL-UNNAMED",
            "-Xmx1g"
        })
public class KernelBenchmark {
    private static final String MATHS = "PORTABLE,ONEDNN";

    /// One kernel, ready to run.
    @State(Scope.Benchmark)
    public static class Prepared {
        @Param({"PORTABLE", "ONEDNN"})
        public BackendOptions.Math math;

        @Param({
            "MATMUL_F32",
            "MATMUL_BF16",
            "MATMUL_4_BITS",
            "MATMUL_LARGE_F32",
            "MATMUL_LARGE_4_BITS",
            "ONE_ROW_F32",
            "ONE_ROW_4_BITS",
            "HEAD_BF16",
            "ATTENTION",
            "GATED_SILU",
            "RMS_NORM",
            "NEGATIVE_LOG_LIKELIHOOD",
            "GRAM",
            "GRAM_LARGE",
            "CHOLESKY_INVERSE",
            "CHOLESKY_INVERSE_LARGE",
            "QUADRATIC_FORM",
            "QUADRATIC_FORM_LARGE",
            "OBS_BLOCK",
            "OBS_SPREAD",
            "CHOOSE_GRID",
            "CHOOSE_GRID_SEARCH",
            "ROUND_TO_GRID",
            "PACK_CODES"
        })
        public String kernel;

        private Backend backend;
        private TensorArena arena;
        private Runnable operation;

        @Setup(Level.Trial)
        @SuppressWarnings("MustBeClosed") // closed by close()
        public void open() {
            int threads = Runtime.getRuntime().availableProcessors();
            backend = new CpuBackend(new BackendOptions(threads, math));
            arena = backend.newArena(1L << 30);
            operation = Kernel.valueOf(kernel).prepare(backend, arena);
        }

        @TearDown(Level.Trial)
        public void close() {
            arena.close();
            backend.close();
        }
    }

    @Benchmark
    public void kernel(Prepared prepared) {
        prepared.operation.run();
    }

    @Benchmark
    public float multiplyAdds(Limits.Registers registers) {
        return registers.run();
    }

    @Benchmark
    public void triad(Limits.Arrays arrays) {
        arrays.run();
    }

    /// @param args parts of kernels' names to run only these
    public static void main(String[] args) throws RunnerException {
        int processors = Runtime.getRuntime().availableProcessors();
        double peak = Limits.FLOPS * processors / nanoseconds("multiplyAdds", processors);
        double bandwidth = Limits.BYTES * processors / nanoseconds("triad", processors);
        System.out.printf(
                "%nat most %.1f GFLOP/s, %.1f GB/s on %d processors%n%n",
                peak, bandwidth, processors);
        List<String> lines = new ArrayList<>();
        for (RunResult result : kernels(args)) {
            Kernel kernel = Kernel.valueOf(result.getParams().getParam("kernel"));
            double time = result.getPrimaryResult().getScore();
            double rate = kernel.work / time;
            lines.add(
                    "%-26s %-9s %10.3f ms %8.1f %-8s %4.0f %%"
                            .formatted(
                                    kernel.name().toLowerCase(java.util.Locale.ROOT),
                                    result.getParams()
                                            .getParam("math")
                                            .toLowerCase(java.util.Locale.ROOT),
                                    time / 1e6,
                                    rate,
                                    kernel.computes ? "GFLOP/s" : "GB/s",
                                    100 * rate / (kernel.computes ? peak : bandwidth)));
        }
        lines.forEach(System.out::println);
    }

    private static double nanoseconds(String method, int threads) throws RunnerException {
        var options =
                new OptionsBuilder()
                        .include(KernelBenchmark.class.getName() + "." + method + "$")
                        .threads(threads)
                        .build();
        return new Runner(options).runSingle().getPrimaryResult().getScore();
    }

    private static Collection<RunResult> kernels(String[] parts) throws RunnerException {
        List<String> names = new ArrayList<>();
        for (Kernel kernel : Kernel.values()) {
            if (parts.length == 0 || List.of(parts).stream().anyMatch(kernel.name()::contains)) {
                names.add(kernel.name());
            }
        }
        var options =
                new OptionsBuilder()
                        .include(KernelBenchmark.class.getName() + ".kernel$")
                        .param("kernel", names.toArray(String[]::new))
                        .param("math", MATHS.split(",", -1))
                        .warmupTime(TimeValue.seconds(1))
                        .build();
        return new Runner(options).run();
    }
}
