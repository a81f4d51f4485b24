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
import java.util.Arrays;
import java.util.List;
import java.util.Random;
import java.util.Set;
import java.util.SplittableRandom;
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
            float[] own = product(70, 90, Math.PORTABLE, Compute.F32, type);
            float[] library = product(70, 90, Math.CUBLAS, Compute.F32, type);
            assertThat(error(library, own)).as("NMSE, %s", type).isLessThan(1e-12);
        }
    }

    /// Few rows, as a step of decoding and one that verifies drafted tokens have them.
    @Test
    void aRowDoesNotDependOnHowManyOfTheFewThereAre() {
        int in = 1152;
        int out = 21;
        try (CudaBackend backend = new CudaBackend(0, new BackendOptions(1, Math.AUTO));
                TensorArena arena = backend.newArena(1 << 20)) {
            var operands = new RandomOperands(backend, arena, new SplittableRandom(5));
            Tensor x = operands.f32(8, in);
            for (Weight w :
                    List.of(
                            operands.weight(out, in),
                            operands.packed(out, in),
                            operands.octets(out, in),
                            operands.scaled(out, in),
                            new Weight.Dense(operands.f32(out, in)))) {
                float[] all = product(backend, arena, x, w);
                for (int rows : new int[] {1, 2, 3, 5}) {
                    for (int from = 0; from + rows <= 8; from += 3) {
                        assertThat(product(backend, arena, x.rows(from, from + rows), w))
                                .as("%d rows of %s", rows, w)
                                .isEqualTo(
                                        Arrays.copyOfRange(all, from * out, (from + rows) * out));
                    }
                }
            }
        }
        assertThat(StandIn.count("launches of packed_slim1_bf16")).isPositive();
    }

    private static float[] product(CudaBackend backend, TensorArena arena, Tensor x, Weight w) {
        Tensor y = arena.allocate(DType.F32, new Shape(x.rows(), w.outFeatures()));
        backend.run(new ForwardOp.Matmul(y, x, w));
        MemorySegment host = StandIn.bytes(y.byteSize());
        backend.download(host, y);
        return host.toArray(ValueLayout.JAVA_FLOAT);
    }

    /// One term of each activation: bf16's rounding, and no more than that.
    @Test
    void bf16RoundsActivationsOnly() {
        for (int rows : new int[] {5, 70}) {
            float[] exact = product(rows, 96, Math.PORTABLE, Compute.F32, DType.BF16);
            for (Math math : new Math[] {Math.PORTABLE, Math.CUBLAS}) {
                float[] rounded = product(rows, 96, math, Compute.BF16, DType.BF16);
                assertThat(error(rounded, exact))
                        .as("NMSE of %d rows, %s", rows, math)
                        .isBetween(1e-7, 2e-5);
            }
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

    private static float[] product(int rows, int in, Math math, Compute compute, DType type) {
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
