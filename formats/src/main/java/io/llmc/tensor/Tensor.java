// SPDX-License-Identifier: Apache-2.0
package io.llmc.tensor;

import java.lang.foreign.MemorySegment;

/// A contiguous, row-major, little-endian view of a buffer. It never owns memory: its arena does.
public record Tensor(Buffer buffer, long byteOffset, DType dtype, Shape shape) {
    public Tensor {
        long end = Math.addExact(byteOffset, dtype.bytesFor(shape.size()));
        if (byteOffset < 0 || end > buffer.byteSize()) {
            throw new IllegalArgumentException(
                    "%s%s needs bytes [%d,%d) of a %d-byte buffer"
                            .formatted(dtype, shape, byteOffset, end, buffer.byteSize()));
        }
    }

    /// A whole host segment as one tensor.
    public static Tensor of(MemorySegment segment, DType dtype, long... dims) {
        return new Tensor(new HostBuffer(segment), 0, dtype, new Shape(dims));
    }

    public long rows() {
        return shape.dim(0);
    }

    public long cols() {
        return shape.dim(1);
    }

    public long byteSize() {
        return dtype.bytesFor(shape.size());
    }

    public boolean is(long rows, long cols) {
        return shape.rank() == 2 && rows() == rows && cols() == cols;
    }

    public boolean isVector(long length) {
        return shape.rank() == 1 && shape.dim(0) == length;
    }

    public boolean like(Tensor other) {
        return dtype == other.dtype && shape.equals(other.shape);
    }

    /// Rows `[from, to)` of a matrix: the only kind of slice, so views stay contiguous.
    public Tensor rows(long from, long to) {
        long row = dtype.bytesFor(cols());
        return new Tensor(buffer, byteOffset + from * row, dtype, new Shape(to - from, cols()));
    }

    /// The same bytes under other dimensions.
    public Tensor reshape(long... dims) {
        Shape other = new Shape(dims);
        if (other.size() != shape.size()) {
            throw new IllegalArgumentException(this + " cannot be seen as " + other);
        }
        return new Tensor(buffer, byteOffset, dtype, other);
    }

    /// The bytes of a tensor that lies in host memory.
    ///
    /// @throws ClassCastException where it lies on another device
    public MemorySegment bytes() {
        return ((HostBuffer) buffer).segment().asSlice(byteOffset, byteSize());
    }

    @Override
    public String toString() {
        return "%s%s@%s".formatted(dtype, shape, buffer.device());
    }
}
