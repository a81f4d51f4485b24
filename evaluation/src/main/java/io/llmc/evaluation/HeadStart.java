// SPDX-License-Identifier: Apache-2.0
package io.llmc.evaluation;

import com.google.errorprone.annotations.MustBeClosed;
import io.llmc.backend.Backend;
import io.llmc.backend.TensorArena;
import io.llmc.formats.checkpoint.Checkpoint;
import io.llmc.model.ModelSpec;
import io.llmc.model.language.Head;
import io.llmc.model.language.LanguageModel;
import io.llmc.pipeline.pass.HiddenStates;
import io.llmc.tensor.DType;
import io.llmc.tensor.Shape;
import io.llmc.tensor.Tensor;
import io.llmc.tokenizer.Windows;
import java.util.Random;

/// Lets the JVM compile kernels while a text is tokenized: that takes one core a second or two, and
/// the kernels' first seconds are slow. Made-up tokens go through the first block and the head
/// again and again until this is closed. No figure depends on it.
final class HeadStart implements AutoCloseable {
    /// Tokens of a pass, at most: enough for loops to become hot, few enough to end soon.
    private static final int LENGTH = 128;

    /// Rows of logits, at most.
    private static final int ROWS = 64;

    /// Bytes of a first block that is worth reading twice.
    private static final long SMALL = 1L << 28;

    private final ModelRun run;
    private final EvalRehearsal rehearsal;
    private final int length;

    /// Null where there is no head start.
    private final Thread thread;

    private volatile boolean enough;

    /// @param window tokens of a window of the evaluation
    /// @param memory its cap; `Long.MAX_VALUE` for none. With one there is no head start, nor on a
    ///   device that has nothing to compile, nor without a second core
    @MustBeClosed
    HeadStart(ModelRun run, EvalRehearsal rehearsal, int window, long memory) {
        this.run = run;
        this.rehearsal = rehearsal;
        length = Math.min(LENGTH, window);
        boolean begins =
                memory == Long.MAX_VALUE
                        && Runtime.getRuntime().availableProcessors() > 1
                        && rehearsal.backend().sharesHostMemory()
                        && firstBlock(run.checkpoint(), run.spec()) <= SMALL;
        thread =
                begins
                        ? Thread.ofPlatform().daemon().name("llmc-head-start").start(this::work)
                        : null;
    }

    private static long firstBlock(Checkpoint checkpoint, ModelSpec spec) {
        String prefix = spec.layers().getFirst().prefix() + ".";
        return checkpoint.names().stream()
                .filter(name -> name.startsWith(prefix))
                .mapToLong(checkpoint::bytes)
                .sum();
    }

    private void work() {
        try {
            passes();
        } catch (RuntimeException | VirtualMachineError _) {
            return; // what is wrong, the evaluation meets itself, and says
        }
    }

    private void passes() {
        ModelSpec spec = run.spec();
        Backend backend = rehearsal.backend();
        int[] ids = new Random(1).ints(length, 0, spec.vocabulary()).toArray();
        int rows = Math.min(ROWS, length);
        long bytes = 2 * Head.bytes(run.checkpoint(), spec, rows) + (1 << 16);
        try (LanguageModel model = new LanguageModel(run.checkpoint(), spec, backend);
                HiddenStates states = new HiddenStates(model, Windows.of(ids, length), null);
                TensorArena arena = backend.newArena(bytes)) {
            Tensor normed = arena.allocate(DType.F32, new Shape(rows, spec.hidden()));
            while (!enough) {
                states.embed();
                states.advance(0);
                try (TensorArena scratch = arena.scratch()) {
                    rehearsal.score(model, normed, scratch);
                }
            }
        }
    }

    /// Waits for the pass that is under way.
    @Override
    public void close() {
        enough = true;
        try {
            if (thread != null) {
                thread.join();
            }
        } catch (InterruptedException _) {
            Thread.currentThread().interrupt();
        }
    }
}
