// SPDX-License-Identifier: Apache-2.0
package io.llmc.pipeline;

import com.fasterxml.jackson.core.type.TypeReference;
import com.fasterxml.jackson.databind.node.ObjectNode;
import io.llmc.backend.Backend;
import io.llmc.formats.Checkpoint;
import io.llmc.formats.CheckpointWriter;
import io.llmc.formats.HfConfig;
import io.llmc.formats.QuantSummary;
import io.llmc.formats.UserException;
import io.llmc.model.LanguageModel;
import io.llmc.model.ModelSpec;
import io.llmc.model.arch.Architectures;
import io.llmc.model.arch.ModelDirectory;
import io.llmc.tokenizer.CalibrationData;
import io.llmc.tokenizer.Tokenizer;
import io.llmc.tokenizer.Windows;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.stream.Stream;

/// Runs one trip over the blocks from a model directory to an output directory.
///
/// The output grows in a working directory beside it: files of their final size, filled block by
/// block, and a journal of finished blocks. An interrupted run goes on there. Once everything has
/// been read back and compared, a rename gives the output its name.
///
/// @param memoryCap bytes outside the Java heap; `Long.MAX_VALUE` for none
/// @param force replaces an output that exists, and discards unfinished work of other commands
public record SweepRunner(
        Backend backend, long memoryCap, boolean force, String toolVersion, Progress progress) {
    /// What [#run] would do; reads headers only.
    public SweepPlan plan(Recipe recipe, Recipe.Sweep sweep, Path model) {
        try (Checkpoint source = ModelDirectory.open(model, progress::note)) {
            List<Checkpoint> models = new ArrayList<>(List.of(source));
            List<String> notes = new ArrayList<>();
            for (ModelPass pass : sweep.views()) {
                Checkpoint last = models.getLast();
                if (!pass.unpacks()) {
                    refuseQuantized(last);
                }
                pass.note(last).ifPresent(notes::add);
                models.add(pass.outline(last));
            }
            return plan(models, recipe, sweep, notes);
        }
    }

    /// @param models as the directory has it, then as each of the sweep's views has it
    /// @param notes of the views
    private SweepPlan plan(
            List<Checkpoint> models, Recipe recipe, Recipe.Sweep sweep, List<String> notes) {
        Checkpoint source = models.getFirst();
        Checkpoint c = models.getLast();
        sweep.requireOneGrid(recipe.save().layout());
        ModelSpec spec = Architectures.specOf(c);
        OutputPlan output = new OutputPlan(c, spec, sweep.passes(), recipe.save().layout());
        MemoryPlan memory =
                MemoryPlan.of(
                        models,
                        output,
                        sweep,
                        sweep.calibrates() ? recipe.calibration() : null,
                        backend,
                        memoryCap);
        return new SweepPlan(
                List.copyOf(output.modules().values()),
                output.tensors(),
                source.names().stream().mapToLong(n -> source.info(n).byteSize()).sum(),
                output.tensors().stream().mapToLong(t -> t.byteSize()).sum(),
                source.names().stream().mapToLong(n -> source.info(n).shape().size()).sum(),
                output.parameters(),
                memory.bytes(),
                memory.spills(),
                Stream.concat(notes.stream(), output.notes().stream()).toList());
    }

    /// One sweep by itself.
    ///
    /// @throws UserException where the output exists, the model cannot be compressed as asked, or
    ///   the memory cap is below what the smallest steps need
    public SweepResult run(Recipe recipe, Recipe.Sweep sweep, Path model, Path output) {
        SweepResult result = run(recipe, Inputs.of(recipe, model), sweep, model, output);
        new OutputDirectory(output, force).conclude();
        return result;
    }

    /// A sweep as a step of its recipe: the caller concludes the output.
    public SweepResult run(
            Recipe recipe, Inputs inputs, Recipe.Sweep sweep, Path model, Path output) {
        long start = System.nanoTime();
        OutputDirectory directory = new OutputDirectory(output, force);
        try (Checkpoint original = ModelDirectory.open(model, progress::note)) {
            SweepPlan sizes = plan(recipe, sweep, model);
            sizes.notes().forEach(progress::note);
            Journal journal =
                    directory.begin(
                            Journal.Head.of(toolVersion, recipe, sweep),
                            inputs,
                            sizes.outputBytes());
            Notes notes = new Notes(journal);
            Done done = journal.result(new TypeReference<Done>() {}).orElse(null);
            int resumed = journal.entries().size();
            if (done == null) {
                Made made;
                try {
                    made = make(recipe, inputs, sweep, original, sizes, directory, journal, notes);
                } catch (RuntimeException | Error e) {
                    directory.abandon(journal);
                    throw e;
                }
                done = made.done();
                resumed = made.resumed();
                directory.complete(journal, done);
            }
            notes.delete();
            SweepRun.removeStates(journal.directory());
            directory.publish(journal);
            return new SweepResult(
                    output,
                    done.reports(),
                    resumed,
                    directory.weightFiles(),
                    original.sideFiles().stream()
                            .map(f -> output.resolve(f.getFileName()))
                            .toList(),
                    done.verified(),
                    sizes.inputBytes(),
                    sizes.outputBytes(),
                    (System.nanoTime() - start) / 1e9);
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    /// What is known of a sweep once everything is written.
    ///
    /// @param verified tensors
    private record Done(List<ModuleReport> reports, int verified) {}

    /// @param resumed blocks that were there
    private record Made(Done done, int resumed) {}

    private Made make(
            Recipe recipe,
            Inputs inputs,
            Recipe.Sweep sweep,
            Checkpoint original,
            SweepPlan sizes,
            OutputDirectory directory,
            Journal journal,
            Notes notes)
            throws IOException {
        Path work = directory.work();
        Windows windows = windows(original, Architectures.specOf(original), recipe, sweep);
        Finite.requireAll(original, progress);
        Scales.requireAll(
                original, Architectures.specOf(original), sweep, recipe.save().layout(), backend);
        List<ModuleReport> reports = new ArrayList<>();
        Path spill = sizes.spills() ? work : null;
        Checkpoint c = original;
        for (int v = 0; v < sweep.views().size(); v++) {
            c = view(sweep.views().get(v), v, c, windows, spill, notes, reports);
        }
        ModelSpec spec = Architectures.specOf(c);
        OutputPlan plan = new OutputPlan(c, spec, sweep.passes(), recipe.save().layout());
        int resumed;
        int verified;
        try (LanguageModel source = new LanguageModel(c, spec, backend)) {
            writeConfig(sweep, recipe, plan, work);
            resumed = resume(work, plan, recipe, journal);
            SweepRun run =
                    new SweepRun(
                            backend,
                            source,
                            recipe,
                            sweep,
                            plan,
                            windows,
                            work,
                            journal,
                            notes,
                            sizes.spills(),
                            progress);
            verified = run.finish();
        }
        reports.addAll(journal.reports());
        Provenance.write(work, toolVersion, recipe, hashes(original, inputs), windows, reports);
        directory.copySideFiles(original);
        return new Made(new Done(reports, verified), resumed);
    }

    /// The model as a pass wants it.
    ///
    /// @param index of the pass, which names its notes
    private Checkpoint view(
            ModelPass pass,
            int index,
            Checkpoint c,
            Windows windows,
            Path spill,
            Notes notes,
            List<ModuleReport> reports) {
        if (!pass.unpacks()) {
            refuseQuantized(c);
        }
        try (LanguageModel model = new LanguageModel(c, Architectures.specOf(c), backend)) {
            return pass.view(
                    new ModelScope(
                            model,
                            pass.calibrates() ? windows : null,
                            spill,
                            notes.of("view-" + index),
                            progress,
                            reports::add));
        }
    }

    /// @throws UserException where the weights are packed
    static void refuseQuantized(Checkpoint c) {
        if (c.quantization().isPresent()) {
            throw new UserException(
                    c.directory() + " is already quantized",
                    "start from the original model, and prune before quantizing; what rounding lost"
                            + " does not come back, but llmc quantize %s -o PLAIN --layout dense writes plain weights"
                                    .formatted(c.directory()));
        }
    }

    private static Windows windows(
            Checkpoint c, ModelSpec spec, Recipe recipe, Recipe.Sweep sweep) {
        if (!sweep.calibrates()) {
            return null;
        }
        if (recipe.calibration().length() > spec.maxPositions()) {
            throw new UserException(
                    "calibration windows of %d tokens are longer than the model's %d positions"
                            .formatted(recipe.calibration().length(), spec.maxPositions()),
                    "lower --calib-length");
        }
        try (Tokenizer tokenizer = Tokenizer.open(c)) {
            return CalibrationData.load(recipe.calibration(), tokenizer);
        }
    }

    /// Drops journal entries whose tensors are not what the journal says, and says what is kept.
    private int resume(Path work, OutputPlan plan, Recipe recipe, Journal journal) {
        if (journal.entries().isEmpty()) {
            return 0;
        }
        int good = 0;
        try (CheckpointWriter probe =
                        CheckpointWriter.create(
                                work, plan.tensors(), recipe.save().shardSize(), true);
                Checkpoint partial = Checkpoint.open(work)) {
            for (Journal.Entry entry : journal.entries()) {
                if (!plan.isBlock(entry.block(), entry.checksums().keySet())
                        || Verifier.firstDamaged(partial, entry.checksums()) != null) {
                    break;
                }
                good++;
            }
        }
        journal.keep(good);
        progress.note(
                "continuing after block %d of %d"
                        .formatted(good, plan.modules().lastEntry().getValue().block() + 1));
        return good;
    }

    private void writeConfig(Recipe.Sweep sweep, Recipe recipe, OutputPlan plan, Path work) {
        HfConfig config = plan.config();
        Optional<QuantSummary> summary = summary(sweep, plan);
        if (summary.isPresent()) {
            Optional<ObjectNode> quantization =
                    recipe.save().layout().quantizationConfig(summary.get());
            if (quantization.isPresent()) {
                config = config.with("quantization_config", quantization.get());
            }
            recipe.save().layout().writeExtraFiles(work, summary.get());
        }
        config.write(work.resolve("config.json"));
    }

    private Optional<QuantSummary> summary(Recipe.Sweep sweep, OutputPlan plan) {
        return sweep.passes().stream()
                .filter(p -> p.encoding().isPresent())
                .reduce((_, b) -> b)
                .map(p ->
                        new QuantSummary(
                                p.encoding().get(),
                                p.name(),
                                p.groupIndex() || "static".equals(p.describe().get("act_order")),
                                !p.groupIndex(),
                                p.describe().get("damping") instanceof Double d ? d : 0,
                                p.calibrates(),
                                plan.denseLinears(),
                                toolVersion));
    }

    private static Map<String, String> hashes(Checkpoint c, Inputs inputs) {
        Map<String, String> hashes = new LinkedHashMap<>();
        hashes.put("config.json", inputs.hash(c.directory().resolve("config.json")));
        for (Path file : c.weightFiles()) {
            hashes.put(file.getFileName().toString(), inputs.hash(file));
        }
        return hashes;
    }
}
