// SPDX-License-Identifier: Apache-2.0
package io.llmc.pipeline.sweep;

import io.llmc.backend.TensorArena;
import io.llmc.formats.checkpoint.Checkpoint;
import io.llmc.formats.checkpoint.TensorReader;
import io.llmc.model.DecoderBlock;
import io.llmc.model.ModelSpec;
import io.llmc.model.language.LanguageModel;
import io.llmc.pipeline.pass.HiddenStates;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.stream.Stream;

/// The calibration sequences behind each finished block, in a file of the working directory: a
/// later run goes on there. Without it the run takes them through the finished blocks again.
///
/// Those of the original model are not kept: a later run takes them through the blocks again.
record SavedStates(Path work, Sequences sequences) implements BlockStream.Listener {
    @Override
    public void finished(BlockStream.Finished block) {
        HiddenStates states = sequences.compressed();
        if (states == null || states.resident()) {
            // A device goes through the finished blocks again in less time than it takes to write
            // what came out of each.
            return;
        }
        int done = block.index() + 1;
        states.saveTo(file(done));
        try {
            Files.deleteIfExists(file(done - 2));
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    private Path file(int blocks) {
        return work.resolve("hidden-after-" + blocks + ".bin");
    }

    /// Brings calibration sequences and probe behind the blocks that an earlier run finished.
    ///
    /// @param finished that many, in the files of the output
    /// @param target the model that the output holds
    void recover(int finished, LanguageModel source, ModelSpec target, Probe probe) {
        HiddenStates states = sequences.compressed();
        if (sequences.calibrate()) {
            sequences.embed();
        }
        if (finished == 0) {
            return;
        }
        boolean restored = states != null && states.restore(file(finished));
        for (int i = 0; i < finished && sequences.originals() != null; i++) {
            sequences.originals().advance(i);
        }
        try (Checkpoint partial =
                Checkpoint.open(work, source.checkpoint().config().treatedAs().orElse(null))) {
            for (int i = 0; i < finished; i++) {
                try (TensorReader reader = partial.reader(source.backend().host());
                        TensorArena arena = source.newBlockArena(partial, i)) {
                    DecoderBlock block = source.block(target.layers().get(i), reader, arena);
                    probe.advance(block);
                    if (states != null && !restored) {
                        states.prepare(block);
                        // As the earlier run did, so that no bit differs.
                        Unpacked.advance(states, block.stages(), source.backend());
                    }
                }
            }
        }
    }

    /// An earlier run that was killed may have left some that this one had no use for.
    static void delete(Path work) {
        try (Stream<Path> files = Files.list(work)) {
            for (Path file : files.filter(SavedStates::holdsStates).toList()) {
                Files.delete(file);
            }
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    private static boolean holdsStates(Path file) {
        return Stream.of(".bin", ".spill", ".tmp").anyMatch(file.toString()::endsWith);
    }
}
