// SPDX-License-Identifier: Apache-2.0
package io.llmc.formats;

import io.llmc.tensor.DType;
import io.llmc.tensor.Shape;

/// One tensor of a plan or a file.
public record TensorInfo(String name, DType dtype, Shape shape) {
    /// @throws ArithmeticException on overflow, or where the elements do not fill whole bytes
    public long byteSize() {
        return dtype.bytesFor(shape.size());
    }

    public static TensorInfo of(String name, DType dtype, long... dims) {
        return new TensorInfo(name, dtype, new Shape(dims));
    }

    @Override
    public String toString() {
        return "%s %s%s".formatted(name, dtype, shape);
    }
}
