// SPDX-License-Identifier: Apache-2.0
package io.llmc.backend.cpu;

import java.lang.foreign.MemorySegment;

/// `c[m,n] = alpha * a[m,k] b[n,k]^T`, added to what c holds where it accumulates.
///
/// @param c F32
/// @param from element of `c[0,0]`
/// @param stride elements from row to row of c
/// @param lower whether only tiles that touch the lower triangle are wanted; others may be written
///   or not
record Product(
        MemorySegment c,
        long from,
        long stride,
        int m,
        int n,
        int k,
        Operand a,
        Operand b,
        float alpha,
        boolean accumulate,
        boolean lower) {
    /// A whole matrix `c[m,n] = a b^T`.
    static Product of(MemorySegment c, long m, long n, long k, Operand a, Operand b) {
        return new Product(
                c,
                0,
                n,
                Math.toIntExact(m),
                Math.toIntExact(n),
                Math.toIntExact(k),
                a,
                b,
                1,
                false,
                false);
    }
}
