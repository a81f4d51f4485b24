// SPDX-License-Identifier: Apache-2.0
package io.llmc.pipeline.sweep;

import com.google.errorprone.annotations.MustBeClosed;
import io.llmc.backend.Backend;
import io.llmc.backend.TensorArena;
import io.llmc.model.DecoderBlock;
import io.llmc.model.Forward;
import io.llmc.model.Tap;
import io.llmc.model.language.Head;
import io.llmc.model.language.LanguageModel;
import io.llmc.pipeline.pass.HiddenStates;
import io.llmc.tensor.Tensor;
import io.llmc.tokenizer.Windows;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;

/// A few made-up tokens that travel through a model's blocks, so that two models can be compared by
/// their logits without any text.
final class Probe implements BlockStream.Listener, AutoCloseable {
    /// Two attend to each other, at two places.
    private static final int LENGTH = 2;

    private final LanguageModel model;
    private final HiddenStates states;

    @MustBeClosed
    @SuppressWarnings("MustBeClosed") // closed by close()
    Probe(LanguageModel model) {
        this.model = model;
        int length = Math.min(LENGTH, model.spec().maxPositions());
        int[] ids = new int[length];
        for (int i = 0; i < length; i++) {
            // Spread over the vocabulary; 40503 is odd and far from small multiples of usual sizes.
            ids[i] = (int) ((1 + i) * 40503L % model.spec().vocabulary());
        }
        this.states =
                new HiddenStates(model, Windows.of(ids, length), null, "hidden", Backend::brief);
        states.embed();
    }

    @Override
    public void finished(BlockStream.Finished block) {
        advance(block.block());
    }

    void advance(DecoderBlock block) {
        states.prepare(block);
        states.advance(block.stages());
    }

    void advance(int block) {
        states.advance(block);
    }

    /// `[tokens * vocabulary]`, by the head of the given model, which may be another than the
    /// blocks'.
    float[] logits() {
        float[][] result = new float[1][];
        states.forEach((x, _) -> result[0] = logits(x));
        return result[0];
    }

    private float[] logits(Tensor x) {
        long vocabulary = model.spec().vocabulary();
        long bytes =
                4 * (x.shape().size() + 3 * x.rows() * vocabulary)
                        + Head.gathering(model.spec(), x.rows())
                        + 4096;
        try (TensorArena arena = model.backend().newArena(bytes);
                Arena host = model.backend().host().newArena()) {
            Forward f =
                    new Forward(
                            model.backend(), model.backend().brief(), arena, null, Tap.NONE, false);
            Head head = new Head(model);
            Tensor logits = head.logits(f, head.norm(x, arena), vocabulary);
            MemorySegment copy = host.allocate(logits.byteSize(), 8);
            model.backend().download(copy, logits);
            return copy.toArray(ValueLayout.JAVA_FLOAT);
        }
    }

    @Override
    public void close() {
        states.close();
    }
}
