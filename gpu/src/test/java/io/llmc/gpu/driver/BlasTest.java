// SPDX-License-Identifier: Apache-2.0
package io.llmc.gpu.driver;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import io.llmc.backend.BackendOptions;
import io.llmc.backend.TensorArena;
import io.llmc.gpu.CudaBackend;
import io.llmc.gpu.StandIn;
import io.llmc.gpu.driver.Blas.Factor;
import io.llmc.gpu.driver.Blas.Layout;
import io.llmc.tensor.DType;
import io.llmc.tensor.Shape;
import io.llmc.tensor.Tensor;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.Random;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/// JCublas2, pointed at a library of another major version than it asks for.
@Tag("long")
class BlasTest {
    @BeforeAll
    static void standIn() {
        var problem = StandIn.install();
        assumeTrue(problem.isEmpty(), problem.orElse(""));
    }

    @ParameterizedTest
    @CsvSource({
        "PLAIN, PLAIN, F32",
        "PLAIN, TRANSPOSED, F32",
        "TRANSPOSED, PLAIN, F32",
        "TRANSPOSED, TRANSPOSED, F32",
        "PLAIN, TRANSPOSED, BF16"
    })
    void multipliesRowMajorMatrices(Layout left, Layout right, DType type) {
        int m = 5;
        int n = 7;
        int k = 9;
        Random random = new Random(3);
        float[] a = values(random, m * k, type);
        float[] b = values(random, k * n, type);
        float[] before = values(random, m * n, DType.F32);
        try (CudaBackend backend = new CudaBackend(0, BackendOptions.defaults());
                TensorArena arena = backend.newArena(1 << 16);
                Blas blas = new Blas(backend.gpu())) {
            Tensor out = put(backend, arena, before, DType.F32);
            Tensor x = put(backend, arena, a, type);
            Tensor y = put(backend, arena, b, type);
            blas.multiply(
                    CudaBuffer.pointer(out), factor(x, left), factor(y, right), m, n, k, 2, 0.5f);
            MemorySegment host = StandIn.bytes(4L * m * n);
            backend.download(host, out);
            for (int i = 0; i < m; i++) {
                for (int j = 0; j < n; j++) {
                    double want = 0.5 * before[i * n + j];
                    for (int l = 0; l < k; l++) {
                        want +=
                                2.0
                                        * a[left == Layout.PLAIN ? i * k + l : l * m + i]
                                        * b[right == Layout.PLAIN ? l * n + j : j * k + l];
                    }
                    assertThat((double) host.getAtIndex(ValueLayout.JAVA_FLOAT, i * n + j))
                            .isCloseTo(want, org.assertj.core.data.Offset.offset(1e-5));
                }
            }
            assertThat(blas.version()).isEqualTo(130000);
        }
    }

    private static Factor factor(Tensor t, Layout layout) {
        return t.dtype() == DType.F32
                ? Factor.f32(CudaBuffer.pointer(t), layout)
                : Factor.bf16(CudaBuffer.pointer(t), layout);
    }

    private static float[] values(Random random, int n, DType type) {
        float[] v = new float[n];
        for (int i = 0; i < n; i++) {
            // What BF16 can hold, in either type.
            v[i] = type == DType.F32 ? (float) random.nextGaussian() : random.nextInt(32) / 8f - 2;
        }
        return v;
    }

    private static Tensor put(CudaBackend backend, TensorArena arena, float[] v, DType type) {
        Tensor t = arena.allocate(type, new Shape(v.length));
        MemorySegment host = StandIn.bytes(type.bytesFor(v.length));
        for (int i = 0; i < v.length; i++) {
            if (type == DType.F32) {
                host.setAtIndex(ValueLayout.JAVA_FLOAT, i, v[i]);
            } else {
                host.setAtIndex(
                        ValueLayout.JAVA_SHORT, i, (short) (Float.floatToIntBits(v[i]) >>> 16));
            }
        }
        backend.upload(t, host);
        return t;
    }
}
