// SPDX-License-Identifier: Apache-2.0
package io.llmc.pipeline.sweep;

import io.llmc.backend.Backend;
import io.llmc.formats.checkpoint.Checkpoint;
import io.llmc.model.ModelSpec;
import io.llmc.model.arch.Architectures;
import io.llmc.model.language.LanguageModel;
import io.llmc.pipeline.Estimate;
import io.llmc.pipeline.SweepPlan;
import io.llmc.pipeline.pass.HiddenStates;
import io.llmc.pipeline.plan.ReadingPace;
import io.llmc.pipeline.plan.Warming;
import io.llmc.tokenizer.Windows;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Optional;

/// How long a sweep will take, found by doing a little of it: the first block, with one window and
/// with a few. Nothing is written beside the system's folder for temporary files.
final class Rehearsal {
    /// Seconds in which the compiler gets to know the work of one window.
    private static final double WARMING = 3;

    /// Those for as many as move together, which tell what each of them takes.
    private static final double SEVERAL = 2;

    /// Times that the output's bytes are gone through: they are made, written, summed up and read
    /// back.
    private static final int TRIPS = 4;

    private final Checkpoint original;
    private final OutputPlan plan;
    private final SweepStep step;
    private final SweepPlan sizes;
    private final Backend backend;

    Rehearsal(
            Checkpoint original,
            OutputPlan plan,
            SweepStep step,
            SweepPlan sizes,
            Backend backend) {
        this.original = original;
        this.plan = plan;
        this.step = step;
        this.sizes = sizes;
        this.backend = backend;
    }

    /// @param windows null where nothing calibrates
    /// @return empty where even one window takes too long to tell what more of them take
    Optional<Estimate> estimate(Windows windows) {
        ModelSpec spec = Architectures.specOf(original);
        try (LanguageModel model = new LanguageModel(original, spec, backend)) {
            int blocks = spec.layers().size();
            Windows single = first(windows, 1);
            Warming one = Warming.of(WARMING, blocks, () -> block(model, single));
            Estimate beside = Estimate.of(files() + probes(model));
            if (windows == null || windows.count() == 1) {
                return Optional.of(beside.plus(one.estimate(blocks)));
            }
            if (one.steady() > WARMING) {
                return Optional.empty();
            }
            int some = Math.min(windows.count(), chunk(windows));
            Windows more = first(windows, some);
            Warming several = Warming.of(SEVERAL, blocks, () -> block(model, more));
            double slowest = Math.max(one.steady(), several.steady());
            double each = (slowest - one.steady()) / (some - 1);
            double all = slowest + (windows.count() - some) * each;
            double warm = blocks * all;
            double cold = warm + one.beginning() + several.beginning();
            return Optional.of(beside.plus(new Estimate(cold, warm)));
        }
    }

    private static int chunk(Windows windows) {
        return Math.max(2, HiddenStates.windowsPerChunk(windows.length()));
    }

    private static Windows first(Windows windows, int count) {
        return windows == null
                ? null
                : new Windows(windows.range(0, count), count, windows.length());
    }

    /// The first block, from its weights to the sequences behind it.
    private double block(LanguageModel model, Windows windows) {
        Path inputs = temporary();
        try (Sequences sequences =
                        windows == null
                                ? Sequences.NONE
                                : Sequences.of(model, windows, null, step.passes());
                BlockStream stream =
                        new BlockStream(model, plan, step.passes(), sequences, List.of(), inputs)) {
            if (windows != null) {
                sequences.embed();
            }
            long start = System.nanoTime();
            stream.run(0);
            return (System.nanoTime() - start) / 1e9;
        } finally {
            delete(inputs);
        }
    }

    /// A few tokens go through the model twice, to compare what was read back.
    private double probes(LanguageModel model) {
        try (Probe probe = new Probe(model)) {
            probe.advance(0);
            long start = System.nanoTime();
            probe.advance(0);
            return 2 * model.spec().layers().size() * (System.nanoTime() - start) / 1e9;
        }
    }

    /// Looking for damage and naming the contents of the source, and going through the output.
    private double files() {
        double perByte = ReadingPace.secondsPerByte(original, backend.host());
        return perByte * (sizes.inputBytes() + TRIPS * sizes.outputBytes());
    }

    private static Path temporary() {
        try {
            return Files.createTempFile("llmc", ".states");
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    private static void delete(Path file) {
        try {
            Files.deleteIfExists(file);
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }
}
