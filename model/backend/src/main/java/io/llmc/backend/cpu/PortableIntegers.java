// SPDX-License-Identifier: Apache-2.0
package io.llmc.backend.cpu;

import static io.llmc.backend.cpu.Lanes.F;
import static io.llmc.backend.cpu.Lanes.I;
import static io.llmc.backend.cpu.Lanes.I32;
import static io.llmc.backend.cpu.Lanes.N;

import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.Arrays;
import jdk.incubator.vector.ByteVector;
import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.IntVector;
import jdk.incubator.vector.VectorOperators;

/// Products of 8-bit integers where nothing multiplies such: by the kernel for floats, a chunk of k
/// at a time. In a chunk no sum is beyond 256 * 128 * 128 = 2^22, which floats hold exactly; chunks
/// are added as integers.
final class PortableIntegers implements IntegerKernels.Sums {
    private static final int MR = PortableGemm.MR;
    private static final int NR = PortableGemm.NR;
    private static final int KC = PortableGemm.KC;

    @Override
    public void multiply(
            MemorySegment c,
            long stride,
            MemorySegment a,
            MemorySegment b,
            int m,
            int n,
            int k,
            Scratch scratch) {
        int panels = Math.ceilDiv(m, MR);
        int across = Math.ceilDiv(n, NR);
        int[] sums = scratch.words(panels * across * MR * NR);
        Arrays.fill(sums, 0, panels * across * MR * NR, 0);
        float[] as = scratch.floats(1, panels * MR * KC);
        float[] bs = scratch.floats(3, NR * KC);
        float[] sum = scratch.floats(2, MR * NR);
        for (int k0 = 0; k0 < k; k0 += KC) {
            int terms = Math.min(KC, k - k0);
            for (int q = 0; q < panels; q++) {
                pack(as, q * MR * terms, MR, a, q * MR, m, k0, terms, k, scratch);
            }
            for (int p = 0; p < across; p++) {
                pack(bs, 0, NR, b, p * NR, n, k0, terms, k, scratch);
                for (int q = 0; q < panels; q++) {
                    PortableGemm.kernel(sum, 0, as, q * MR * terms, bs, 0, terms);
                    add(sums, (p * panels + q) * MR * NR, sum);
                }
            }
        }
        for (int i = 0; i < m; i++) {
            for (int p = 0; p < across; p++) {
                int from = (p * panels + i / MR) * MR * NR + i % MR * NR;
                int count = Math.min(NR, n - p * NR);
                MemorySegment.copy(sums, from, c, I32, 4 * (i * stride + p * NR), count);
            }
        }
    }

    private static void add(int[] sums, int at, float[] sum) {
        for (int i = 0; i < MR * NR; i += N) {
            IntVector more =
                    (IntVector) FloatVector.fromArray(F, sum, i).convert(VectorOperators.F2I, 0);
            IntVector.fromArray(I, sums, at + i).add(more).intoArray(sums, at + i);
        }
    }

    /// One panel of up to `width` rows of `[rows, k]`, columns `[k0, k0 + n)`.
    private static void pack(
            float[] panel,
            int at,
            int width,
            MemorySegment codes,
            int first,
            int rows,
            int k0,
            int n,
            int k,
            Scratch scratch) {
        int line = Lanes.padded(n);
        float[] floats = scratch.floats(0, width * line);
        byte[] octets = scratch.octets(line);
        int count = Math.min(width, rows - first);
        for (int i = 0; i < count; i++) {
            long from = (long) (first + i) * k + k0;
            MemorySegment.copy(codes, ValueLayout.JAVA_BYTE, from, octets, 0, n);
            for (int j = 0; j < line; j += N) {
                widen(floats, i * line + j, octets, j);
            }
        }
        Panels.transpose(panel, at, width, floats, line, count, n);
    }

    private static void widen(float[] to, int at, byte[] octets, int from) {
        if (Lanes.OCTETS != null) {
            ((FloatVector)
                            ByteVector.fromArray(Lanes.OCTETS, octets, from)
                                    .convertShape(VectorOperators.B2F, F, 0))
                    .intoArray(to, at);
            return;
        }
        for (int i = 0; i < N; i++) {
            to[at + i] = octets[from + i];
        }
    }
}
