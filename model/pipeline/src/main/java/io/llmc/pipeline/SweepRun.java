// SPDX-License-Identifier: Apache-2.0
package io.llmc.pipeline;

import io.llmc.backend.Backend;
import io.llmc.backend.TensorArena;
import io.llmc.formats.Checkpoint;
import io.llmc.formats.CheckpointWriter;
import io.llmc.formats.TensorReader;
import io.llmc.formats.UserException;
import io.llmc.model.DecoderBlock;
import io.llmc.model.LanguageModel;
import io.llmc.tokenizer.Windows;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Map;
import java.util.stream.Stream;

/// One trip, from the first block that the journal lacks.
///
/// @param windows null where nothing calibrates
/// @param spills whether activations go to disk
record SweepRun(
        Backend backend,
        LanguageModel source,
        Recipe recipe,
        Recipe.Sweep sweep,
        OutputPlan plan,
        Windows windows,
        Path work,
        Journal journal,
        Notes notes,
        boolean spills,
        Progress progress) {

    /// Compresses, writes and verifies.
    ///
    /// @return tensors verified
    int finish() throws IOException {
        int layers = source.spec().layers().size();
        int first = journal.entries().size();
        Map<String, Long> checksums;
        float[] logits;
        try (CheckpointWriter writer =
                        CheckpointWriter.create(
                                work, plan.tensors(), recipe.save().shardSize(), first > 0);
                Probe probe = new Probe(source);
                HiddenStates states =
                        windows == null
                                        || first == layers
                                        || sweep.passes().stream().noneMatch(BlockPass::calibrates)
                                ? null
                                : new HiddenStates(source, windows, spills ? work : null)) {
            recover(first, probe, states);
            SweepOutput output =
                    new SweepOutput(
                            source.spec(),
                            backend,
                            plan,
                            recipe.save().layout(),
                            writer,
                            journal,
                            probe,
                            () -> saveStates(states));
            try (BlockStream stream =
                    new BlockStream(
                            source,
                            plan,
                            sweep.passes(),
                            states,
                            output,
                            work.resolve("block-input.bin"))) {
                survey(stream, states, first);
                progress.begin(sweep.passes().isEmpty() ? "copying" : "compressing", layers);
                progress.advance(first, "");
                for (int i = first; i < layers; i++) {
                    stream.run(i);
                    progress.advance(1, source.spec().layers().get(i).prefix());
                }
                progress.end();
            }
            output.writeRest(source);
            writer.finish();
            logits = probe.logits();
            requireFinite(logits);
            checksums = output.checksums();
        }
        progress.begin("verifying", 1);
        int verified = Verifier.verify(work, checksums, logits, backend);
        progress.end();
        return verified;
    }

    /// Shows the blocks as they are to the passes that want to see them first.
    private void survey(BlockStream stream, HiddenStates states, int first) {
        for (int p = 0; p < sweep.passes().size(); p++) {
            BlockPass pass = sweep.passes().get(p);
            if (!pass.surveys()) {
                continue;
            }
            stream.surveyed(
                    pass,
                    notes.remember(
                            "survey-" + p,
                            () -> {
                                // Where blocks are finished, so was the survey; its file is gone.
                                if (first > 0) {
                                    throw new UserException(
                                            work + " lacks a file of the run that it is left of",
                                            "delete that directory and start again");
                                }
                                double[] found = stream.survey(pass, progress);
                                states.embed();
                                return found;
                            }));
        }
    }

    /// What cannot be used must not get a name, even if it reads back as it was.
    private static void requireFinite(float[] logits) {
        for (float logit : logits) {
            if (!Float.isFinite(logit)) {
                throw new UserException(
                        "the compressed model gives NaN or infinite logits",
                        "try more bits, smaller groups or --clip none, and check the original with"
                                + " llmc eval");
            }
        }
    }

    /// Brings probe and calibration sequences behind the blocks that an earlier run finished.
    private void recover(int first, Probe probe, HiddenStates states) {
        boolean restored = first > 0 && states != null && states.restore(statesFile(first));
        if (states != null && !restored) {
            states.embed();
        }
        if (first == 0) {
            return;
        }
        try (Checkpoint partial = Checkpoint.open(work)) {
            for (int i = 0; i < first; i++) {
                advance(partial, i, probe, restored ? null : states);
            }
        }
    }

    /// Through one block as the earlier run wrote it; states may be null.
    private void advance(Checkpoint partial, int i, Probe probe, HiddenStates states) {
        try (TensorReader reader = partial.reader(backend.host());
                TensorArena arena = source.newBlockArena(i)) {
            DecoderBlock block = source.block(plan.target().layers().get(i), reader, arena);
            probe.advance(block);
            if (states != null) {
                states.prepare(block);
                states.advance(block.stages());
            }
        }
    }

    private Path statesFile(int blocks) {
        return work.resolve("hidden-after-" + blocks + ".bin");
    }

    private void saveStates(HiddenStates states) {
        if (states == null || states.resident()) {
            // A device goes through the finished blocks again in less time than it takes to write
            // what
            // came out of each.
            return;
        }
        int done = journal.entries().size() + 1;
        states.saveTo(statesFile(done));
        try {
            Files.deleteIfExists(statesFile(done - 2));
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    /// An earlier run that was killed may have left some that this one had no use for.
    static void removeStates(Path work) throws IOException {
        try (Stream<Path> files = Files.list(work)) {
            for (Path file : files.filter(SweepRun::holdsStates).toList()) {
                Files.delete(file);
            }
        }
    }

    private static boolean holdsStates(Path file) {
        return Stream.of(".bin", ".spill", ".tmp").anyMatch(file.toString()::endsWith);
    }
}
