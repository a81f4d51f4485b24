// SPDX-License-Identifier: Apache-2.0
package io.llmc.tensor;

import java.util.Arrays;

/// Row-major dimensions, outermost first. A weight is `[out, in]`, activations `[tokens,
/// channels]`.
public final class Shape {
    private final long[] dims;

    public Shape(long... dims) {
        this.dims = dims.clone();
        for (long d : dims) {
            if (d < 0) {
                throw new IllegalArgumentException("negative dimension in " + this);
            }
        }
    }

    /// The number of elements.
    ///
    /// @throws ArithmeticException on overflow
    public long size() {
        long n = 1;
        for (long d : dims) {
            n = Math.multiplyExact(n, d);
        }
        return n;
    }

    public int rank() {
        return dims.length;
    }

    public long dim(int i) {
        return dims[i];
    }

    public long[] dims() {
        return dims.clone();
    }

    @Override
    public boolean equals(Object o) {
        return o instanceof Shape s && Arrays.equals(dims, s.dims);
    }

    @Override
    public int hashCode() {
        return Arrays.hashCode(dims);
    }

    @Override
    public String toString() {
        return Arrays.toString(dims);
    }
}
