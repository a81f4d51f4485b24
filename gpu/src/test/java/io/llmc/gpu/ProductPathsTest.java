// SPDX-License-Identifier: Apache-2.0
package io.llmc.gpu;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import io.llmc.backend.Agreement;
import io.llmc.backend.BackendOptions;
import io.llmc.backend.BackendOptions.Compute;
import io.llmc.backend.BackendOptions.Math;
import io.llmc.backend.CompressionOp;
import io.llmc.backend.ForwardOp;
import io.llmc.backend.GradientOp;
import io.llmc.backend.Op;
import io.llmc.backend.OpCases;
import io.llmc.backend.StatisticOp;
import io.llmc.backend.TensorArena;
import io.llmc.gpu.driver.Natives;
import io.llmc.tensor.DType;
import io.llmc.tensor.Shape;
import io.llmc.tensor.Tensor;
import io.llmc.tensor.Weight;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.Random;
import java.util.Set;
import java.util.stream.Stream;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.DynamicTest;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.TestFactory;

/// Products by the ways that the contract, which is run with our own kernels in F32, does not take.
@Tag("long")
class ProductPathsTest {
    private static final Set<Class<? extends Op>> PRODUCTS =
            Set.of(
                    ForwardOp.Matmul.class,
                    GradientOp.AccumulateMatmulInput.class,
                    GradientOp.AccumulateOuter.class,
                    StatisticOp.AccumulateGram.class,
                    CompressionOp.AccumulateObsSpread.class);

    @BeforeAll
    static void standIn() {
        var problem = StandIn.install();
        assumeTrue(problem.isEmpty(), problem.orElse(""));
        assertThat(Natives.driverProblem()).isEmpty();
    }

    @TestFactory
    Stream<DynamicTest> cublasAgreesWithTheReference() {
        var options = new BackendOptions(1, Math.CUBLAS);
        return OpCases.ALL.stream()
                .filter(c -> PRODUCTS.contains(c.op()))
                .map(c ->
                        DynamicTest.dynamicTest(
                                c.name(),
                                () -> {
                                    try (CudaBackend backend = new CudaBackend(0, options)) {
                                        Agreement.check(c, backend);
                                    }
                                }));
    }

    /// More rows than go through the kernels for few, so that cuBLAS gets them term by term.
    @Test
    void cublasGivesWhatOurKernelsGive() {
        for (DType type : new DType[] {DType.BF16, DType.F16, DType.F32}) {
            float[] own = product(Math.PORTABLE, Compute.F32, type);
            float[] library = product(Math.CUBLAS, Compute.F32, type);
            assertThat(error(library, own)).as("NMSE, %s", type).isLessThan(1e-12);
        }
    }

    /// One term of each activation: bf16's rounding, and no more than that.
    @Test
    void bf16RoundsActivationsOnly() {
        float[] exact = product(Math.PORTABLE, Compute.F32, DType.BF16);
        for (Math math : new Math[] {Math.PORTABLE, Math.CUBLAS}) {
            float[] rounded = product(math, Compute.BF16, DType.BF16);
            assertThat(error(rounded, exact)).as("NMSE, %s", math).isBetween(1e-7, 2e-5);
        }
    }

    private static double error(float[] got, float[] want) {
        double error = 0;
        double norm = 0;
        for (int i = 0; i < want.length; i++) {
            error += (got[i] - want[i]) * (double) (got[i] - want[i]);
            norm += want[i] * (double) want[i];
        }
        return error / norm;
    }

    private static float[] product(Math math, Compute compute, DType type) {
        int rows = 70;
        int in = 90;
        int out = 40;
        Random random = new Random(5);
        var options = new BackendOptions(1, math, Long.MAX_VALUE, compute);
        try (CudaBackend backend = new CudaBackend(0, options);
                TensorArena arena = backend.newArena(1 << 20)) {
            Tensor x = arena.allocate(DType.F32, new Shape(rows, in));
            Tensor wide = arena.allocate(DType.F32, new Shape(out, in));
            upload(backend, x, random);
            upload(backend, wide, random);
            Tensor w = arena.allocate(type, new Shape(out, in));
            backend.run(new ForwardOp.Scale(w, wide, 1));
            Tensor y = arena.allocate(DType.F32, new Shape(rows, out));
            backend.run(new ForwardOp.Matmul(y, x, new Weight.Dense(w)));
            MemorySegment host = StandIn.bytes(y.byteSize());
            backend.download(host, y);
            return host.toArray(ValueLayout.JAVA_FLOAT);
        }
    }

    private static void upload(CudaBackend backend, Tensor t, Random random) {
        MemorySegment host = StandIn.bytes(t.byteSize());
        for (long i = 0; i < t.shape().size(); i++) {
            host.setAtIndex(ValueLayout.JAVA_FLOAT, i, (float) random.nextGaussian());
        }
        backend.upload(t, host);
    }
}
