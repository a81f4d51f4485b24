// SPDX-License-Identifier: Apache-2.0
package io.llmc.backend.cpu;

/// Dense matrix products.
interface Gemm {
    void multiply(Product p);

    /// What does the work, for a person.
    String name();
}
