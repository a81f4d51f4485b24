// SPDX-License-Identifier: Apache-2.0
package io.llmc.backend.cpu;

import java.lang.foreign.MemorySegment;

/// `c[m,n] = alpha * a[m,k] b[n,k]^T`, added to what c holds where it accumulates.
///
/// @param c F32
/// @param from element of `c[0,0]`
/// @param stride elements from row to row of c
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
        Part part) {
    /// What of a product is wanted.
    enum Part {
        ALL,

        /// Tiles that touch the lower triangle; others may be written or not.
        LOWER,

        /// With b symmetric, anything whose sum `sum_j a[i,j] c[i,j]` is that of all of the
        /// product: what lies on one side of the diagonal counts twice, which is half of the
        /// operations.
        FORM
    }

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
                Part.ALL);
    }
}
