// SPDX-License-Identifier: Apache-2.0
package io.llmc.pipeline.sweep;

import com.google.errorprone.annotations.MustBeClosed;
import io.llmc.model.language.LanguageModel;
import io.llmc.pipeline.pass.BlockPass;
import io.llmc.pipeline.pass.HiddenStates;
import io.llmc.tokenizer.Windows;
import java.nio.file.Path;
import java.util.List;

/// The calibration sequences of a sweep.
///
/// @param compressed as they go through what the passes leave; null where nothing calibrates
/// @param originals the same through the model as it was; null where no pass compares
record Sequences(HiddenStates compressed, HiddenStates originals) implements AutoCloseable {
    static final Sequences NONE = new Sequences(null, null);

    /// @param spill a directory for what does not stay in memory; null to keep all of it there
    @MustBeClosed
    @SuppressWarnings("MustBeClosed") // closed by close()
    static Sequences of(LanguageModel model, Windows windows, Path spill, List<BlockPass> passes) {
        HiddenStates compressed = new HiddenStates(model, windows, spill);
        if (passes.stream().noneMatch(BlockPass::compares)) {
            return new Sequences(compressed, null);
        }
        try {
            return new Sequences(compressed, new HiddenStates(model, windows, spill, "original"));
        } catch (RuntimeException | Error e) {
            compressed.close();
            throw e;
        }
    }

    boolean calibrate() {
        return compressed != null;
    }

    /// Puts them before the first block.
    void embed() {
        compressed.embed();
        if (originals != null) {
            originals.embed();
        }
    }

    @Override
    public void close() {
        if (compressed != null) {
            compressed.close();
        }
        if (originals != null) {
            originals.close();
        }
    }
}
