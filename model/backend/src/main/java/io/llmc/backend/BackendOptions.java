// SPDX-License-Identifier: Apache-2.0
package io.llmc.backend;

/// How a device should work; neither changes results by more than rounding, and threads not at all.
///
/// @param threads worker threads; results do not depend on it
/// @param math what computes dense products
/// @param memory bytes that a device with memory of its own may take; `Long.MAX_VALUE` for no cap
/// @param compute what activations are multiplied as
public record BackendOptions(int threads, Math math, long memory, Compute compute) {
    /// Dense products.
    public enum Math {
        /// The library of the device (oneDNN, cuBLAS) where it was measured to be faster and loads,
        /// kernels of our own otherwise.
        AUTO,
        /// oneDNN, or an error.
        ONEDNN,
        /// cuBLAS, or an error.
        CUBLAS,
        /// Kernels of our own: the same bytes on any CPU, and on any GPU.
        PORTABLE
    }

    /// What becomes of F32 activations before they are multiplied with a weight; sums are in F32.
    public enum Compute {
        /// Nothing that is lost.
        F32,
        /// Rounded to BF16, as most models were trained: a third of the products on a GPU, and on a
        /// CPU with instructions for it many more of them a second.
        BF16,
        /// Nothing that is lost in products of many rows, but what a model rounds to 8-bit integers
        /// for a weight of such stays integers, as in the kernels of engines. See
        /// [Backend#multipliesIntegers]. Where a CPU decodes, the few rows that 4-bit integers are
        /// multiplied with become integers of 11 bits (docs/adr/0027-int8-products.md).
        INT8
    }

    public BackendOptions {
        if (threads < 1) {
            throw new IllegalArgumentException("threads must be positive: " + threads);
        }
    }

    public BackendOptions(int threads, Math math) {
        this(threads, math, Long.MAX_VALUE, Compute.F32);
    }

    public static BackendOptions defaults() {
        return new BackendOptions(Runtime.getRuntime().availableProcessors(), Math.AUTO);
    }
}
