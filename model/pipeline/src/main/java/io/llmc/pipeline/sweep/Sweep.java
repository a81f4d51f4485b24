// SPDX-License-Identifier: Apache-2.0
package io.llmc.pipeline.sweep;

import com.fasterxml.jackson.core.type.TypeReference;
import com.google.errorprone.annotations.MustBeClosed;
import io.llmc.formats.UserException;
import io.llmc.formats.checkpoint.Checkpoint;
import io.llmc.formats.safetensors.CheckpointWriter;
import io.llmc.model.ModelSpec;
import io.llmc.model.arch.Architectures;
import io.llmc.model.language.LanguageModel;
import io.llmc.pipeline.Estimate;
import io.llmc.pipeline.Findings;
import io.llmc.pipeline.Finite;
import io.llmc.pipeline.Inputs;
import io.llmc.pipeline.Journal;
import io.llmc.pipeline.ModuleReport;
import io.llmc.pipeline.OutputDirectory;
import io.llmc.pipeline.Provenance;
import io.llmc.pipeline.Step;
import io.llmc.pipeline.SweepPlan;
import io.llmc.pipeline.pass.BlockPass;
import io.llmc.pipeline.pass.ModelPass;
import io.llmc.pipeline.pass.ModelScope;
import io.llmc.tokenizer.CalibrationSpec;
import io.llmc.tokenizer.Windows;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;

/// A sweep that is planned and ready to run, with its model open.
///
/// The output grows in a working directory beside it: files of their final size, filled block by
/// block, and a journal of finished blocks. An interrupted run goes on there. Once everything has
/// been read back and compared, a rename gives the output its name.
public final class Sweep implements Step.Plan {
    private final SweepStep step;
    private final Step.Context context;
    private final Checkpoint original;
    private final OutputPlan planned;
    private final SweepPlan sizes;
    private final List<ModuleReport> reports = new ArrayList<>();

    /// Null where nothing calibrates.
    private Windows windows;

    private OutputDirectory directory;
    private Journal journal;
    private Findings findings;

    /// Blocks that an earlier run had finished.
    private int resumed;

    /// @param original closed with the sweep
    @MustBeClosed
    Sweep(
            SweepStep step,
            Step.Context context,
            Checkpoint original,
            OutputPlan planned,
            SweepPlan sizes) {
        this.step = step;
        this.context = context;
        this.original = original;
        this.planned = planned;
        this.sizes = sizes;
    }

    @Override
    public Optional<SweepPlan> sizes() {
        return Optional.of(sizes);
    }

    @Override
    public long bytes() {
        return sizes.peakBytes();
    }

    /// Not where other passes decide first what the blocks will be.
    @Override
    public Optional<Estimate> estimate() {
        boolean looksFirst = step.passes().stream().anyMatch(BlockPass::surveys);
        if (!step.modelPasses().isEmpty() || looksFirst || step.passes().isEmpty()) {
            return Optional.empty();
        }
        long start = System.nanoTime();
        Windows text = windows();
        double read = (System.nanoTime() - start) / 1e9;
        Rehearsal rehearsal = new Rehearsal(original, planned, step, sizes, context.backend());
        return rehearsal.estimate(step.travelling(text)).map(Estimate.of(read)::plus);
    }

    @Override
    public void close() {
        original.close();
    }

    /// What is known of a sweep once everything is written.
    ///
    /// @param verified tensors
    private record Done(List<ModuleReport> reports, int verified) {}

    @Override
    public Step.Outcome run() {
        long start = System.nanoTime();
        sizes.notes().forEach(context.progress()::note);
        directory = context.directory();
        journal = context.begin(directory, step, sizes.outputBytes());
        findings = new Findings(journal);
        resumed = journal.entries().size();
        Done done = journal.result(new TypeReference<Done>() {}).orElse(null);
        if (done == null) {
            try {
                Checkpoint model = viewed();
                // Which blocks are left, and how wide they are, views have decided only now.
                OutputPlan plan =
                        step.modelPasses().isEmpty() ? planned : step.output(context, model);
                plan.writeConfig(context.toolVersion(), directory.work());
                resumed = resume(plan);
                Compressed made;
                try (LanguageModel source =
                        new LanguageModel(model, Architectures.specOf(model), context.backend())) {
                    windows = covered(source);
                    made = compress(source, plan);
                }
                // Nothing of the source is held while the output is read back.
                done = finished(plan, made);
            } catch (RuntimeException | Error e) {
                directory.abandon(journal);
                throw e;
            }
            directory.complete(journal, done);
        }
        findings.delete();
        SavedStates.delete(journal.directory());
        directory.publish(journal);
        return new SweepResult(
                sizes,
                context.output(),
                done.reports(),
                resumed,
                directory.weightFiles(),
                original.sideFiles().stream()
                        .map(f -> context.output().resolve(f.getFileName()))
                        .toList(),
                done.verified(),
                (System.nanoTime() - start) / 1e9);
    }

    /// The model as its blocks are to be compressed: whole, and as the views make it.
    private Checkpoint viewed() {
        windows = windows();
        Finite.requireAll(original, context.progress());
        Scales.requireAll(original, step, planned, context.backend());
        Checkpoint c = original;
        for (int v = 0; v < step.modelPasses().size(); v++) {
            c = view(v, c);
        }
        return c;
    }

    /// What all blocks have left.
    ///
    /// @param checksums of every tensor as it was in memory
    /// @param logits of the probe
    private record Compressed(Map<String, Long> checksums, float[] logits) {}

    /// Reads everything back, and writes what is known of it.
    private Done finished(OutputPlan plan, Compressed made) {
        Path work = directory.work();
        context.progress().begin("verifying", 1);
        Verifier.requireSchemes(work, plan.quantPlan());
        int verified =
                Verifier.verify(
                        work,
                        original.config().treatedAs().orElse(null),
                        made.checksums,
                        made.logits,
                        context.backend());
        context.progress().end();
        reports.addAll(journal.reports());
        Provenance.write(work, context.toolVersion(), context.recipe(), hashes(), windows, reports);
        directory.copySideFiles(original);
        return new Done(reports, verified);
    }

    /// The model as a pass wants it.
    ///
    /// @param index of the pass, which names its findings
    private Checkpoint view(int index, Checkpoint c) {
        ModelPass pass = step.modelPasses().get(index);
        SweepStep.requirePlain(pass, c);
        try (LanguageModel model =
                new LanguageModel(c, Architectures.specOf(c), context.backend())) {
            return pass.view(
                    new ModelScope(
                            model,
                            SweepStep.spelling(context),
                            pass.calibrates() ? windows : null,
                            spill(),
                            findings.of("view-" + index),
                            context.progress(),
                            reports::add));
        }
    }

    private Path spill() {
        return sizes.spills() ? directory.work() : null;
    }

    private Windows windows() {
        if (!step.calibrates()) {
            return null;
        }
        ModelSpec spec = Architectures.specOf(original);
        if (context.recipe().calibration().length() > spec.maxPositions()) {
            throw new UserException(
                    "calibration windows of %d tokens are longer than the model's %d positions"
                            .formatted(
                                    context.recipe().calibration().length(), spec.maxPositions()),
                    "lower {calibration.length}");
        }
        return text().windows();
    }

    private CalibrationText text() {
        return new CalibrationText(context, step.calibration(context), original, findings);
    }

    /// The windows, and more of the text where a pass wants experts to see more tokens than they
    /// would.
    private Windows covered(LanguageModel model) {
        long least = step.expertTokens(model.spec());
        if (!step.calibrates() || least == 0 && !context.recipe().calibration().coverage()) {
            return windows;
        }
        CalibrationSpec spec = step.calibration(context);
        TopUp more = new TopUp(model, spec, text()::more, spill(), context.progress());
        double[] extra =
                findings.remember(
                        "coverage",
                        () -> {
                            Coverage covered =
                                    Coverage.of(model, windows, spill(), context.progress());
                            covered.table().forEach(context.progress()::note);
                            boolean refuses =
                                    step.passes().stream().anyMatch(BlockPass::refusesRareExperts);
                            return more.extra(covered, least, refuses);
                        });
        int[] numbers = Arrays.stream(extra).mapToInt(n -> (int) n).sorted().toArray();
        return numbers.length == 0 ? windows : windows.and(text().more(numbers));
    }

    /// Drops journal entries whose tensors are not what the journal says, and says what is kept.
    private int resume(OutputPlan plan) {
        if (journal.entries().isEmpty()) {
            return 0;
        }
        int good = 0;
        try (CheckpointWriter _ = writer(plan, true);
                Checkpoint partial = Checkpoint.open(directory.work())) {
            for (Journal.Entry entry : journal.entries()) {
                if (!plan.isBlock(entry.block(), entry.checksums().keySet())
                        || Verifier.firstDamaged(partial, entry.checksums()) != null) {
                    break;
                }
                good++;
            }
        }
        journal.keep(good);
        context.progress()
                .note(
                        "continuing after block %d of %d"
                                .formatted(
                                        good, plan.modules().lastEntry().getValue().block() + 1));
        return good;
    }

    @MustBeClosed
    private CheckpointWriter writer(OutputPlan plan, boolean resumes) {
        return CheckpointWriter.create(
                directory.work(),
                plan.tensors(),
                context.recipe().save().shardSize(),
                original.stacks(),
                resumes);
    }

    /// One trip, from the first block that the journal lacks.
    private Compressed compress(LanguageModel source, OutputPlan plan) {
        int layers = source.spec().layers().size();
        boolean calibrates =
                resumed < layers && step.passes().stream().anyMatch(BlockPass::calibrates);
        try (CheckpointWriter writer = writer(plan, resumed > 0);
                OuterLayers outer = new OuterLayers(source, plan, step.modelPasses());
                Probe probe = new Probe(source);
                Sequences sequences =
                        calibrates
                                ? Sequences.of(
                                        source, step.travelling(windows), spill(), step.passes())
                                : Sequences.NONE) {
            SavedStates saved = new SavedStates(directory.work(), sequences);
            saved.recover(resumed, source, plan.target(), probe);
            SweepOutput output = new SweepOutput(context.backend(), plan, writer, journal);
            // In this order; once the journal has a block, a later run goes on behind it.
            List<BlockStream.Listener> listeners =
                    List.of(output, probe, saved, b -> journal.append(output.entry(b)));
            try (BlockStream stream =
                    new BlockStream(
                            source,
                            plan,
                            step.passes(),
                            sequences,
                            listeners,
                            directory.work().resolve("block-input.bin"))) {
                survey(stream, sequences);
                context.progress()
                        .begin(step.passes().isEmpty() ? "copying" : "compressing", layers);
                context.progress().advance(resumed, "");
                for (int i = resumed; i < layers; i++) {
                    stream.run(i);
                    context.progress().advance(1, source.spec().layers().get(i).prefix());
                }
                context.progress().end();
            }
            output.writeRest(source, outer);
            writer.finish();
            float[] logits = probe.logits();
            requireFinite(logits);
            return new Compressed(output.checksums(), logits);
        }
    }

    /// Shows the blocks as they are to the passes that want to see them first.
    private void survey(BlockStream stream, Sequences sequences) {
        for (int p = 0; p < step.passes().size(); p++) {
            BlockPass pass = step.passes().get(p);
            if (!pass.surveys()) {
                continue;
            }
            stream.surveyed(
                    pass,
                    findings.remember(
                            "survey-" + p,
                            () -> {
                                // Where blocks are finished, so was the survey; its file is gone.
                                if (resumed > 0) {
                                    throw new UserException(
                                            directory.work()
                                                    + " lacks a file of the run that it is left of",
                                            "delete that directory and start again");
                                }
                                double[] found = stream.survey(pass, context.progress());
                                sequences.embed();
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
                        "try more bits, smaller groups or {clip} none, and check the original with"
                                + " llmc eval");
            }
        }
    }

    private Map<String, String> hashes() {
        Map<String, String> hashes = new LinkedHashMap<>();
        Inputs inputs = context.inputs();
        Path config = original.config().file();
        hashes.put(config.getFileName().toString(), inputs.hash(config));
        for (Path file : original.weightFiles()) {
            hashes.put(file.getFileName().toString(), inputs.hash(file));
        }
        return hashes;
    }
}
