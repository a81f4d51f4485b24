// SPDX-License-Identifier: Apache-2.0
package io.llmc.evaluation.blame;

import com.google.errorprone.annotations.MustBeClosed;
import io.llmc.backend.Backend;
import io.llmc.backend.TensorArena;
import io.llmc.formats.checkpoint.Checkpoint;
import io.llmc.model.Forward;
import io.llmc.model.ModelSpec;
import io.llmc.model.Positions;
import io.llmc.model.arch.Architectures;
import io.llmc.model.arch.Models;
import io.llmc.model.language.Head;
import io.llmc.model.language.LanguageModel;
import io.llmc.pipeline.Progress;
import io.llmc.tensor.Tensor;
import java.nio.file.Path;

/// One of the two models.
final class Side implements AutoCloseable {
    private final Checkpoint checkpoint;
    private final ModelSpec spec;
    private final Backend backend;

    /// Null until it is loaded; `tables` and `positions` too.
    private LanguageModel model;

    private TensorArena tables;
    private Positions positions;
    private boolean closed;

    /// Looks at headers alone.
    @MustBeClosed
    @SuppressWarnings("MustBeClosed") // closed by close()
    Side(Models models, Path directory, Backend backend, Progress progress) {
        this.backend = backend;
        this.checkpoint = models.open(directory, progress::note);
        try {
            this.spec = Architectures.specOf(checkpoint);
        } catch (RuntimeException e) {
            checkpoint.close();
            throw e;
        }
    }

    Checkpoint checkpoint() {
        return checkpoint;
    }

    ModelSpec spec() {
        return spec;
    }

    Path directory() {
        return checkpoint.directory();
    }

    /// Maps what surrounds the blocks.
    ///
    /// @param length tokens of a window
    @SuppressWarnings("MustBeClosed") // closed by close()
    void load(int length) {
        model = new LanguageModel(checkpoint, spec, backend);
        tables = backend.newArena(Positions.bytes(spec, length) + 256);
        positions = Positions.of(spec, length, backend, tables);
    }

    LanguageModel model() {
        return model;
    }

    Positions positions() {
        return positions;
    }

    Forward forward(TensorArena arena) {
        return new Forward(backend, arena, positions);
    }

    /// Scores of the first ids of the vocabulary.
    ///
    /// @param x rows behind the last block
    Tensor logits(Tensor x, int vocabulary, TensorArena arena) {
        Head head = new Head(model);
        return head.logits(head.norm(x, arena), vocabulary, arena);
    }

    /// May be called twice.
    @Override
    public void close() {
        if (!closed) {
            closed = true;
            if (tables != null) {
                tables.close();
            }
            if (model != null) {
                model.close();
            }
            checkpoint.close();
        }
    }
}
