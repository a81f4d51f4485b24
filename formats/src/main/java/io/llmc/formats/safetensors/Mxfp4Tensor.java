// SPDX-License-Identifier: Apache-2.0
package io.llmc.formats.safetensors;

import io.llmc.formats.ExpertStack;
import io.llmc.formats.FormatException;
import io.llmc.formats.Mxfp4Stack;
import io.llmc.formats.OpenFile;
import io.llmc.formats.StoredTensor;
import io.llmc.formats.TensorInfo;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;

/// A layer of one expert whose values are made of the blocks of all of them.
///
/// @param count of experts
record Mxfp4Tensor(
        Mxfp4Stack stack,
        ExpertStack.Part part,
        SafetensorsTensor codes,
        SafetensorsTensor exponents,
        long count,
        TensorInfo info)
        implements StoredTensor {
    static Mxfp4Tensor of(
            Mxfp4Stack stack,
            ExpertStack.Part part,
            SafetensorsTensor codes,
            SafetensorsTensor exponents) {
        long count = codes.info().shape().dim(0);
        TensorInfo info = stack.info(part, codes.info());
        return new Mxfp4Tensor(stack, part, codes, exponents, count, info);
    }

    @Override
    public OpenFile file() {
        return codes.file();
    }

    @Override
    public long bytes() {
        return (codes.bytes() + exponents.bytes()) / count / part.stack().layers().size();
    }

    @Override
    public boolean isMapped() {
        return false;
    }

    @Override
    public long copied() {
        return info.byteSize();
    }

    @Override
    public MemorySegment read(Arena arena) {
        try (Arena mapping = Arena.ofConfined()) {
            MemorySegment out = arena.allocate(info.byteSize(), 64);
            stack.decode(part, info, out, expert(codes, mapping), expert(exponents, mapping))
                    .ifPresent(exponent -> {
                        throw new FormatException(
                                exponents.file().path(),
                                "'%s' has the exponent %d, whose values are no numbers in BF16: download the model again"
                                        .formatted(exponents.info().name(), exponent));
                    });
            return out.asReadOnly();
        }
    }

    private MemorySegment expert(SafetensorsTensor whole, Arena arena) {
        long bytes = whole.bytes() / count;
        return whole.file().map(whole.entry().offset() + part.expert() * bytes, bytes, arena);
    }
}
