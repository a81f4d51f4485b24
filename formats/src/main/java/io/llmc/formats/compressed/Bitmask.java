// SPDX-License-Identifier: Apache-2.0
package io.llmc.formats.compressed;

import io.llmc.formats.BitStream;
import io.llmc.formats.Dequantizer;
import io.llmc.formats.FormatException;
import io.llmc.formats.checkpoint.Checkpoint;
import io.llmc.formats.checkpoint.TensorReader;
import io.llmc.tensor.DType;
import io.llmc.tensor.Shape;
import io.llmc.tensor.Tensor;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;

/// Matrices without their zeros, as the library wrote them up to 0.14: `sparse-24-bitmask` and
/// `sparse-bitmask`. They are read only.
///
/// | tensor | |
/// |---|---|
/// | `compressed` | the values, row after row; of any type, and any shape |
/// | `bitmask` | U8 `[out, ceil(in/8)]`: the lowest bit of a byte is the first column's, set where a value is |
/// | `shape` | I64 out, in |
final class Bitmask {
    static final String VALUES = ".compressed";
    static final String MASK = ".bitmask";
    static final String SHAPE = ".shape";

    private Bitmask() {}

    static boolean holds(Checkpoint c, String linear) {
        return c.has(linear + VALUES) && c.has(linear + MASK);
    }

    /// @return out, in
    /// @throws FormatException where the tensors do not fit together
    static Shape require(TensorReader reader, String linear, DType type) {
        Checkpoint c = reader.checkpoint();
        if (c.info(linear + VALUES).dtype() != type) {
            throw new FormatException(
                    c.file(linear + VALUES),
                    "%s, expected values of %s".formatted(c.info(linear + VALUES), type));
        }
        long[] dims = c.info(linear + SHAPE).shape().dims();
        MemorySegment sizes = reader.tensor(linear + SHAPE, DType.I64, dims).bytes();
        Shape mask = Stored.matrix(c, linear + MASK, DType.U8);
        long out = sizes.byteSize() == 16 ? sizes.getAtIndex(BitStream.LONG, 0) : 0;
        long in = sizes.byteSize() == 16 ? sizes.getAtIndex(BitStream.LONG, 1) : 0;
        if (in <= 0 || mask.dim(0) != out || mask.dim(1) != (in - 1) / 8 + 1) {
            throw new FormatException(
                    c.file(linear + MASK),
                    "%s does not fit a [%d, %d] weight".formatted(c.info(linear + MASK), out, in));
        }
        return new Shape(out, in);
    }

    /// The whole matrix.
    static Tensor expand(TensorReader reader, String linear, DType type) {
        Shape shape = require(reader, linear, type);
        Tensor stored = reader.tensor(linear + VALUES);
        MemorySegment values = stored.bytes();
        MemorySegment mask = reader.tensor(linear + MASK).bytes();
        Tensor out = Dequantizer.allocate(reader.arena(), type, shape.dim(0), shape.dim(1));
        MemorySegment to = out.bytes();
        int size = type.bytes();
        long at = 0;
        long count = stored.shape().size();
        long in = shape.dim(1);
        for (long o = 0; o < shape.dim(0); o++) {
            for (long i = 0; i < in; i++) {
                byte bits = mask.get(ValueLayout.JAVA_BYTE, o * ((in - 1) / 8 + 1) + i / 8);
                if ((bits >>> i % 8 & 1) == 0) {
                    continue;
                }
                if (at < count) {
                    MemorySegment.copy(values, at * size, to, (o * in + i) * size, size);
                }
                at++;
            }
        }
        if (at != count) {
            throw new FormatException(
                    reader.checkpoint().file(linear + VALUES),
                    "%s, but '%s' has %d bits set"
                            .formatted(
                                    reader.checkpoint().info(linear + VALUES), linear + MASK, at));
        }
        return out;
    }
}
