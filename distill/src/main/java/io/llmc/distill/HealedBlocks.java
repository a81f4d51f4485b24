// SPDX-License-Identifier: Apache-2.0
package io.llmc.distill;

import io.llmc.distill.student.WriteBack;
import io.llmc.formats.TensorInfo;
import io.llmc.formats.UserException;
import io.llmc.formats.checkpoint.Checkpoint;
import io.llmc.formats.safetensors.TensorFile;
import io.llmc.model.LayerSpec;
import io.llmc.model.arch.Architectures;
import io.llmc.tensor.Tensor;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.lang.foreign.Arena;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.stream.IntStream;
import java.util.stream.Stream;

/// What a student's finished blocks have learnt: it lies in files of the working directory, one a
/// block.
final class HealedBlocks implements WriteBack.Learnt, AutoCloseable {
    private static final int NONE = -1;

    private final List<LayerSpec> layers;
    private final Path work;

    /// The file of the block that was last asked for.
    private TensorFile open;

    private int openBlock = NONE;

    HealedBlocks(Checkpoint student, Path work) {
        this.layers = Architectures.specOf(student).layers();
        this.work = work;
    }

    /// The file of a finished block.
    Path file(int block) {
        return work.resolve("block-%04d.bin".formatted(block));
    }

    private int block(String name) {
        return IntStream.range(0, layers.size())
                .filter(i -> name.startsWith(layers.get(i).prefix()))
                .findFirst()
                .orElse(NONE);
    }

    @Override
    public synchronized boolean has(String name) {
        int block = block(name);
        return block != NONE && Files.exists(file(block)) && names(block).anyMatch(name::equals);
    }

    @Override
    public synchronized Tensor tensor(String name, Arena memory) {
        try {
            return opened(block(name)).tensor(name, memory);
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    /// Those of all blocks, which must be finished.
    @Override
    public synchronized Stream<String> names() {
        return IntStream.range(0, layers.size()).boxed().flatMap(this::names);
    }

    private Stream<String> names(int block) {
        try {
            return opened(block).tensors().stream().map(TensorInfo::name);
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    @SuppressWarnings("MustBeClosed") // closed by the next one, or by close()
    private TensorFile opened(int block) throws IOException {
        if (block != openBlock) {
            close();
            open = TensorFile.whole(file(block));
            if (open == null) {
                throw new UserException(
                        file(block) + ", a finished block, is damaged",
                        "delete this file and run the command again");
            }
            openBlock = block;
        }
        return open;
    }

    @Override
    public synchronized void close() {
        if (open != null) {
            open.close();
            open = null;
            openBlock = NONE;
        }
    }
}
