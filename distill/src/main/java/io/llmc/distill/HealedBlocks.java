// SPDX-License-Identifier: Apache-2.0
package io.llmc.distill;

import io.llmc.backend.Backend;
import io.llmc.formats.Checkpoint;
import io.llmc.formats.TensorInfo;
import io.llmc.formats.TensorReader;
import io.llmc.formats.UserException;
import io.llmc.model.LayerSpec;
import io.llmc.model.arch.Architectures;
import io.llmc.tensor.Tensor;
import java.lang.foreign.Arena;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.SequencedMap;

/// A student whose finished blocks lie in files of the working directory, one each: seen from
/// outside it is a checkpoint. One block at most is in memory.
final class HealedBlocks implements AutoCloseable {
    private final Checkpoint original;
    private final Backend backend;
    private final DistillSpec spec;
    private final Path work;
    private final List<LayerSpec> layers;

    /// The block that was last asked for.
    private Student open;

    private int openBlock = -1;

    HealedBlocks(Checkpoint original, Backend backend, DistillSpec spec, Path work) {
        this.original = original;
        this.backend = backend;
        this.spec = spec;
        this.work = work;
        this.layers = Architectures.specOf(original).layers();
    }

    /// The file of a finished block.
    Path file(int block) {
        return work.resolve("block-%04d.bin".formatted(block));
    }

    /// The checkpoint with what is finished at the time of each reading.
    Checkpoint checkpoint() {
        SequencedMap<String, TensorInfo> infos = new LinkedHashMap<>();
        original.names().forEach(name -> infos.put(name, original.info(name)));
        return original.derived(original.config(), infos, this::tensor);
    }

    private synchronized Tensor tensor(String name, TensorReader base, Arena memory) {
        for (int i = 0; i < layers.size(); i++) {
            if (name.startsWith(layers.get(i).prefix()) && Files.exists(file(i))) {
                return block(i).written(name, base, memory);
            }
        }
        return base.tensor(name);
    }

    @SuppressWarnings("MustBeClosed") // closed by the next one, or by close()
    private Student block(int i) {
        if (i != openBlock) {
            close();
            open = Student.ofBlock(original, backend, spec, i);
            openBlock = i;
            if (TrainState.restoreWeights(file(i), open) == null) {
                throw new UserException(
                        file(i) + ", a finished block, is damaged",
                        "delete this file and run the command again");
            }
        }
        return open;
    }

    /// Those of all blocks, which must be finished: [Student#adapters].
    synchronized SequencedMap<String, Tensor> adapters(Arena memory) {
        SequencedMap<String, Tensor> adapters = new LinkedHashMap<>();
        for (int i = 0; i < layers.size(); i++) {
            adapters.putAll(block(i).adapters(memory));
        }
        return adapters;
    }

    @Override
    public void close() {
        if (open != null) {
            open.close();
            open = null;
            openBlock = -1;
        }
    }
}
