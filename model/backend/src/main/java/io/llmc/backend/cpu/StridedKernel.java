// SPDX-License-Identifier: Apache-2.0
package io.llmc.backend.cpu;

import static io.llmc.backend.cpu.Lanes.F;
import static io.llmc.backend.cpu.Lanes.MEMORY;
import static io.llmc.backend.cpu.Lanes.N;
import static io.llmc.backend.cpu.PortableGemm.NR;
import static java.nio.ByteOrder.LITTLE_ENDIAN;
import static jdk.incubator.vector.FloatVector.fromMemorySegment;

import jdk.incubator.vector.FloatVector;

/// A register tile of four rows whose columns are read where they lie: what few queries do with a
/// page of a cache, which is worth no copy.
final class StridedKernel {
    private StridedKernel() {}

    /// `c[i, 0..NR) += sum over k, in order, of a[k, i] * b[k, 0..NR)`, each sum one chain of fused
    /// multiply-adds that goes on from c, as [PortableGemm]'s does from zero.
    ///
    /// @param c `[4][NR]` from `co` on
    /// @param a `[n][4]` from `ao` on
    /// @param b address of F32 that the caller holds
    /// @param stride bytes from one row of b to the next
    static void add(float[] c, int co, float[] a, int ao, long b, long stride, int n) {
        FloatVector c00 = FloatVector.fromArray(F, c, co);
        FloatVector c01 = FloatVector.fromArray(F, c, co + N);
        FloatVector c10 = FloatVector.fromArray(F, c, co + NR);
        FloatVector c11 = FloatVector.fromArray(F, c, co + NR + N);
        FloatVector c20 = FloatVector.fromArray(F, c, co + 2 * NR);
        FloatVector c21 = FloatVector.fromArray(F, c, co + 2 * NR + N);
        FloatVector c30 = FloatVector.fromArray(F, c, co + 3 * NR);
        FloatVector c31 = FloatVector.fromArray(F, c, co + 3 * NR + N);
        for (int k = 0; k < n; k++) {
            FloatVector b0 = fromMemorySegment(F, MEMORY, b + k * stride, LITTLE_ENDIAN);
            FloatVector b1 = fromMemorySegment(F, MEMORY, b + k * stride + 4 * N, LITTLE_ENDIAN);
            int i = ao + k * 4;
            FloatVector x = FloatVector.broadcast(F, a[i]);
            c00 = x.fma(b0, c00);
            c01 = x.fma(b1, c01);
            x = FloatVector.broadcast(F, a[i + 1]);
            c10 = x.fma(b0, c10);
            c11 = x.fma(b1, c11);
            x = FloatVector.broadcast(F, a[i + 2]);
            c20 = x.fma(b0, c20);
            c21 = x.fma(b1, c21);
            x = FloatVector.broadcast(F, a[i + 3]);
            c30 = x.fma(b0, c30);
            c31 = x.fma(b1, c31);
        }
        c00.intoArray(c, co);
        c01.intoArray(c, co + N);
        c10.intoArray(c, co + NR);
        c11.intoArray(c, co + NR + N);
        c20.intoArray(c, co + 2 * NR);
        c21.intoArray(c, co + 2 * NR + N);
        c30.intoArray(c, co + 3 * NR);
        c31.intoArray(c, co + 3 * NR + N);
    }
}
