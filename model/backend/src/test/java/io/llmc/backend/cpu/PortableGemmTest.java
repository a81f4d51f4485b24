// SPDX-License-Identifier: Apache-2.0
package io.llmc.backend.cpu;

import static org.assertj.core.api.Assertions.assertThat;

import io.llmc.formats.MemoryBudget;
import io.llmc.tensor.DType;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.Random;
import org.junit.jupiter.api.Test;

/// The documented order of every sum, to the bit.
class PortableGemmTest {
    private static final int NR = PortableGemm.NR;

    private final Random random = new Random(7);

    private float[] randoms(int n) {
        float[] v = new float[n];
        for (int i = 0; i < n; i++) {
            v[i] = (float) random.nextGaussian();
        }
        return v;
    }

    @Test
    void bothRegisterTilesAreChainsOfFusedMultiplyAdds() {
        int n = 37;
        for (int rows : new int[] {4, 8}) {
            float[] a = randoms(n * rows);
            float[] b = randoms(n * NR);
            float[] c = new float[rows * NR + 3];
            if (rows == 4) {
                PortableGemm.kernel4(c, 3, a, 0, b, 0, n);
            } else {
                PortableGemm.kernel8(c, 3, a, 0, b, 0, n);
            }
            for (int i = 0; i < rows; i++) {
                for (int j = 0; j < NR; j++) {
                    float sum = 0;
                    for (int k = 0; k < n; k++) {
                        sum = Math.fma(a[k * rows + i], b[k * NR + j], sum);
                    }
                    assertThat(c[3 + i * NR + j]).isEqualTo(sum);
                }
            }
        }
    }

    @Test
    void aSumIsItsChunksInOrder() {
        int m = 9;
        int n = 50;
        int k = 2 * PortableGemm.KC + 13;
        float[] x = randoms(m * k);
        float[] w = randoms(n * k);
        try (Arena arena = Arena.ofShared();
                Workers workers = new Workers(2, MemoryBudget.NONE)) {
            MemorySegment xs = arena.allocateFrom(ValueLayout.JAVA_FLOAT, x);
            MemorySegment ws = arena.allocateFrom(ValueLayout.JAVA_FLOAT, w);
            MemorySegment out = arena.allocate(4L * m * n);
            new PortableGemm(workers)
                    .multiply(
                            Product.of(
                                    out,
                                    m,
                                    n,
                                    k,
                                    new Operand.Rows(xs, DType.F32, 0, k),
                                    new Operand.Rows(ws, DType.F32, 0, k)));
            for (int i = 0; i < m; i++) {
                for (int j = 0; j < n; j++) {
                    float sum = 0;
                    for (int k0 = 0; k0 < k; k0 += PortableGemm.KC) {
                        float chunk = 0;
                        for (int t = k0; t < Math.min(k, k0 + PortableGemm.KC); t++) {
                            chunk = Math.fma(x[i * k + t], w[j * k + t], chunk);
                        }
                        sum += chunk;
                    }
                    assertThat(out.getAtIndex(ValueLayout.JAVA_FLOAT, (long) i * n + j))
                            .isEqualTo(sum);
                }
            }
        }
    }
}
