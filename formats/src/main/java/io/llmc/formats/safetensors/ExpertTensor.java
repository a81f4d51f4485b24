// SPDX-License-Identifier: Apache-2.0
package io.llmc.formats.safetensors;

import io.llmc.formats.ExpertStack;
import io.llmc.formats.OpenFile;
import io.llmc.formats.StoredTensor;
import io.llmc.formats.TensorInfo;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;

/// A layer of one expert within a tensor of all of them: a part of the file where its bytes lie
/// side by side, else copied out of that expert's part.
record ExpertTensor(SafetensorsTensor whole, ExpertStack.Part part, TensorInfo info)
        implements StoredTensor {
    static ExpertTensor of(SafetensorsTensor whole, ExpertStack.Part part) {
        return new ExpertTensor(whole, part, part.stack().info(part, whole.info()));
    }

    @Override
    public OpenFile file() {
        return whole.file();
    }

    @Override
    public long bytes() {
        return info.byteSize();
    }

    @Override
    public boolean isMapped() {
        return part.stack().isContiguous();
    }

    @Override
    public long copied() {
        return isMapped() ? 0 : info.byteSize();
    }

    @Override
    public MemorySegment read(Arena arena) {
        ExpertStack stack = part.stack();
        long expert = stack.expertBytes(info);
        long at = whole.entry().offset() + part.expert() * expert;
        if (isMapped()) {
            return file().map(at + stack.place(part, info), info.byteSize(), arena);
        }
        try (Arena mapping = Arena.ofConfined()) {
            MemorySegment out = arena.allocate(info.byteSize(), 64);
            stack.gather(part, info, out, file().map(at, expert, mapping));
            return out.asReadOnly();
        }
    }
}
