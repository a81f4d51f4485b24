// SPDX-License-Identifier: Apache-2.0
package io.llmc.formats.compressed;

import io.llmc.formats.FormatException;
import io.llmc.formats.TensorInfo;
import io.llmc.formats.checkpoint.Checkpoint;
import io.llmc.formats.checkpoint.TensorReader;
import io.llmc.tensor.DType;
import io.llmc.tensor.Shape;
import io.llmc.tensor.Tensor;

/// Names of tensors that several formats share, and how they are read.
final class Stored {
    /// Codes that share words or bytes.
    static final String PACKED = ".weight_packed";

    /// Codes of a byte each.
    static final String CODES = ".weight";

    static final String SCALE = ".weight_scale";

    private Stored() {}

    /// The sizes of a matrix of codes that are a byte each, which may be stored without its zeros.
    static Shape shape(TensorReader reader, String linear, DType type) {
        if (Bitmask.holds(reader.checkpoint(), linear)) {
            return Bitmask.require(reader, linear, type);
        }
        return matrix(reader.checkpoint(), linear + CODES, type);
    }

    /// The codes themselves, `[out, in]`.
    static Tensor codes(TensorReader reader, String linear, DType type) {
        return Bitmask.holds(reader.checkpoint(), linear)
                ? Bitmask.expand(reader, linear, type)
                : reader.tensor(linear + CODES);
    }

    /// @throws FormatException where a tensor is no matrix of this type, or is empty
    static Shape matrix(Checkpoint c, String name, DType type) {
        TensorInfo info = c.info(name);
        if (info.dtype() != type || info.shape().rank() != 2 || info.shape().size() == 0) {
            throw new FormatException(
                    c.file(name), "%s, expected a matrix of %s".formatted(info, type));
        }
        return info.shape();
    }

    /// A tensor of one element, whatever its rank, as `[1]`.
    static Tensor one(TensorReader reader, String name) {
        Checkpoint c = reader.checkpoint();
        TensorInfo info = c.info(name);
        if (info.shape().size() != 1) {
            throw new FormatException(c.file(name), info + ", expected one number");
        }
        return reader.tensor(name).reshape(1);
    }

    /// The type of scales that are plain floats; F32 where they have none, for the sentence that
    /// says what was expected.
    static DType scaleType(Checkpoint c, String name) {
        DType stored = c.info(name).dtype();
        return stored.isFloat() ? stored : DType.F32;
    }
}
