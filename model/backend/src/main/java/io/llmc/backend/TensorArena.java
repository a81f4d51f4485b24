// SPDX-License-Identifier: Apache-2.0
package io.llmc.backend;

import com.google.errorprone.annotations.MustBeClosed;
import io.llmc.tensor.DType;
import io.llmc.tensor.Shape;
import io.llmc.tensor.Tensor;

/// A fixed slab of device memory handed out in stack order. Closing frees everything allocated
/// since it was opened.
public interface TensorArena extends AutoCloseable {
    Tensor allocate(DType dtype, Shape shape);

    /// A nested scope on the same slab; must be closed before this arena allocates again.
    @MustBeClosed
    TensorArena scratch();

    @Override
    void close();
}
