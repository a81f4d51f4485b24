// SPDX-License-Identifier: Apache-2.0
package io.llmc.distill;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.ObjectMapper;
import io.llmc.backend.Backend;
import io.llmc.backend.LossOp;
import io.llmc.distill.spec.DistillSpec;
import io.llmc.distill.spec.LayerMap;
import io.llmc.distill.student.TrainedModel;
import io.llmc.distill.student.WriteBack;
import io.llmc.distill.training.Batches;
import io.llmc.distill.training.LearningRate;
import io.llmc.distill.training.Optimizer;
import io.llmc.distill.training.StepTimes;
import io.llmc.distill.training.TrainState;
import io.llmc.formats.UserException;
import io.llmc.formats.checkpoint.Checkpoint;
import io.llmc.model.ModelSpec;
import io.llmc.model.arch.Architectures;
import io.llmc.model.language.LanguageModel;
import io.llmc.pipeline.Journal;
import io.llmc.pipeline.OutputDirectory;
import io.llmc.pipeline.Step;
import io.llmc.pipeline.learning.BlockTrainer;
import io.llmc.pipeline.pass.HiddenStates;
import io.llmc.tokenizer.Windows;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.SequencedMap;
import java.util.stream.IntStream;
import java.util.stream.LongStream;

/// Heals a student block by block: each learns, from what the healed blocks before it give, the
/// output of the teacher's blocks that it stands for. Two blocks are in memory at a time, and the
/// hidden states of the windows: on disk where a memory cap asks for it.
///
/// What layer-wise reconstruction after quantizing does (BRECQ, https://arxiv.org/abs/2102.05426),
/// for any change that was made to a block.
final class BlockwiseRun {
    private static final ObjectMapper JSON = new ObjectMapper();

    /// The folder of hidden states that do not fit in memory.
    private static final String STATES = "hidden-states";

    private final Step.Context scope;
    private final DistillSpec spec;
    private final Checkpoint student;
    private final Checkpoint teacher;
    private final Journal journal;
    private final Path work;
    private final Batches batches;
    private final StepTimes times;
    private final LayerMap map;

    /// Indices of the held-out windows.
    private final int[] held;

    /// Indices of all windows that are needed, rising.
    private final int[] needed;

    private final List<String> log = new ArrayList<>();
    private double before;
    private double after;

    BlockwiseRun(
            Step.Context scope,
            DistillSpec spec,
            Checkpoint student,
            Checkpoint teacher,
            Journal journal,
            Batches batches,
            StepTimes times) {
        this.scope = scope;
        this.spec = spec;
        this.student = student;
        this.teacher = teacher;
        this.journal = journal;
        this.work = journal.directory();
        this.batches = batches;
        this.times = times;
        requireEqualWidth();
        this.map = LayerMap.of(student, teacher, spec.inside().map());
        this.held = batches.chosenHeld(0, batches.holdout());
        IntStream learnt =
                LongStream.range(0, (long) spec.steps() * spec.accumulate())
                        .mapToObj(batches::chosen)
                        .flatMapToInt(Arrays::stream);
        this.needed = IntStream.concat(learnt, Arrays.stream(held)).distinct().sorted().toArray();
    }

    private void requireEqualWidth() {
        int mine = Architectures.specOf(student).width();
        int theirs = Architectures.specOf(teacher).width();
        if (mine != theirs) {
            throw new UserException(
                    "the student's blocks give %,d channels and the teacher's %,d"
                            .formatted(mine, theirs),
                    "leave {blockwise} out, or learn with {hidden}, which projects");
        }
    }

    SequencedMap<String, Object> run() {
        scope.progress().note("blocks of the teacher, " + map.found() + ": " + map.counterparts());
        try (HealedBlocks healed = new HealedBlocks(student, work)) {
            heal(healed);
            DistillRun.write(scope, spec, student, healed, work);
        }
        OutputDirectory.deleteTree(work.resolve(STATES));
        DistillRun.writeLog(log, work);
        return values();
    }

    private boolean merges() {
        return spec.lora() == null || spec.lora().merges();
    }

    @SuppressWarnings("MustBeClosed") // all are resources of the try
    private void heal(HealedBlocks healed) {
        Backend backend = scope.backend();
        ModelSpec own = Architectures.specOf(student);
        Windows windows = batches.windows(needed);
        boolean spills =
                BlockwiseMemory.of(student, teacher, spec, backend, scope.memory()).spills();
        Checkpoint learnt = WriteBack.of(student, spec.lora(), healed, backend).checkpoint();
        try (LanguageModel mine = new LanguageModel(learnt, own, backend);
                LanguageModel theirs =
                        new LanguageModel(teacher, Architectures.specOf(teacher), backend);
                HiddenStates inputs =
                        new HiddenStates(mine, windows, spills ? folder("student") : null);
                HiddenStates targets =
                        new HiddenStates(theirs, windows, spills ? folder("teacher") : null)) {
            int blocks = own.layers().size();
            scope.progress().begin("healing blocks", (long) blocks * spec.steps());
            inputs.embed();
            targets.embed();
            int behind = 0;
            for (int i = 0; i < blocks; i++) {
                for (; behind <= map.target(i); behind++) {
                    targets.advance(behind);
                }
                heal(i, healed, inputs, targets);
                if (merges()) {
                    inputs.advance(i);
                }
            }
            scope.progress().end();
        }
    }

    /// Learns a block, or takes it from the file that an earlier run has left.
    @SuppressWarnings("MustBeClosed") // all are resources of the try
    private void heal(int block, HealedBlocks healed, HiddenStates inputs, HiddenStates targets) {
        try (TrainedModel student =
                TrainedModel.ofBlock(this.student, scope.backend(), spec, block)) {
            TrainState state = TrainState.restoreWeights(healed.file(block), student);
            if (state == null) {
                state = learned(block, student, inputs, targets);
                journal.seal();
                state.saveWeights(healed.file(block), student);
                times.saved();
            } else {
                scope.progress().advance(spec.steps(), "");
            }
            delete(stateFile(block));
            log.addAll(state.log());
            note(state.log().getLast());
            if (!merges()) {
                // No checkpoint holds the adapters that lie beside the block's weights.
                inputs.advance(student.blocks().getFirst());
            }
        }
    }

    @SuppressWarnings("MustBeClosed") // a resource of the try
    private TrainState learned(
            int block, TrainedModel student, HiddenStates inputs, HiddenStates targets) {
        try (BlockTrainer trainer =
                new BlockTrainer(
                        student.blocks().getFirst(),
                        inputs,
                        targets,
                        LossOp.Distance.MSE,
                        spec.batch())) {
            LearningRate rates = new LearningRate(spec.rate(), spec.steps());
            Optimizer optimizer =
                    new Optimizer(student.trained().values(), spec.adam(), scope.backend());
            TrainState state = TrainState.restore(stateFile(block), student);
            if (state == null) {
                double error = heldOut(trainer);
                state = new TrainState(0, error, 0, new ArrayList<>());
            }
            scope.progress().advance(state.step(), "");
            for (int step = state.step() + 1; step <= spec.steps(); step++) {
                times.begin();
                double error = step(block, step, trainer, optimizer, student, rates, state.log());
                state = new TrainState(step, state.best(), 0, state.log());
                double speed = times.done((long) block * spec.steps() + step, spec.tokensPerStep());
                scope.progress()
                        .advance(
                                1,
                                "block %d, relative error %.4f, %.0f tokens/s"
                                        .formatted(block, error, speed));
                boolean due = step % spec.saveEvery() == 0 || times.asksToSave();
                if (due && step < spec.steps()) {
                    journal.seal();
                    state.save(stateFile(block), student);
                    times.saved();
                }
            }
            return judged(block, state, heldOut(trainer), student);
        }
    }

    private double step(
            int block,
            int step,
            BlockTrainer trainer,
            Optimizer optimizer,
            TrainedModel student,
            LearningRate rates,
            List<String> lines) {
        student.zeroGradients();
        BlockTrainer.Error error = new BlockTrainer.Error(0, 0);
        for (int a = 0; a < spec.accumulate(); a++) {
            int[] chosen = batches.chosen((step - 1L) * spec.accumulate() + a);
            error =
                    error.plus(
                            trainer.learn(places(chosen), 1f / spec.accumulate(), student::watch));
        }
        double norm = optimizer.gradientNorm();
        optimizer.requireFinite(
                "block %d, step %d".formatted(block, step), error.relative(), norm, work);
        float rate = rates.at(step - 1);
        optimizer.step(step, rate, norm);
        SequencedMap<String, Object> line = new LinkedHashMap<>();
        line.put("block", block);
        line.put("step", (long) block * spec.steps() + step);
        line.put("loss", error.relative());
        line.put("gradient_norm", norm);
        line.put("learning_rate", rate);
        lines.add(json(line));
        return error.relative();
    }

    /// A block that got worse on the held-out windows stays as it was.
    @SuppressWarnings("MustBeClosed") // a resource of the try
    private TrainState judged(int block, TrainState state, double error, TrainedModel student) {
        boolean keeps = held.length == 0 || error < state.best();
        if (!keeps) {
            try (TrainedModel untouched =
                    TrainedModel.ofBlock(this.student, scope.backend(), spec, block)) {
                student.copyFrom(untouched);
            }
        }
        if (held.length > 0) {
            SequencedMap<String, Object> line = new LinkedHashMap<>();
            line.put("block", block);
            line.put("step", ((long) block + 1) * spec.steps());
            line.put("held_out_before", state.best());
            line.put("held_out_loss", error);
            line.put("kept", keeps);
            state.log().add(json(line));
        }
        return state;
    }

    /// Infinite where nothing is held out.
    private double heldOut(BlockTrainer trainer) {
        BlockTrainer.Error error = new BlockTrainer.Error(0, 0);
        for (int from = 0; from < held.length; from += spec.batch()) {
            int to = Math.min(held.length, from + spec.batch());
            error = error.plus(trainer.measure(places(Arrays.copyOfRange(held, from, to))));
        }
        return held.length == 0 ? Double.POSITIVE_INFINITY : error.relative();
    }

    /// Where windows are among the needed ones.
    private int[] places(int[] windows) {
        return Arrays.stream(windows).map(w -> Arrays.binarySearch(needed, w)).toArray();
    }

    private void note(String last) {
        try {
            var line = JSON.readTree(last);
            if (line.has("held_out_before")) {
                boolean kept = line.path("kept").asBoolean();
                double was = line.path("held_out_before").asDouble();
                before += was;
                after += kept ? line.path("held_out_loss").asDouble() : was;
            }
        } catch (JsonProcessingException e) {
            throw new IllegalStateException(e);
        }
    }

    private static String json(SequencedMap<String, Object> line) {
        try {
            return JSON.writeValueAsString(line);
        } catch (JsonProcessingException e) {
            throw new IllegalStateException(e);
        }
    }

    private Path stateFile(int block) {
        return work.resolve("train-state-%04d.bin".formatted(block));
    }

    private Path folder(String name) {
        try {
            return Files.createDirectories(work.resolve(STATES).resolve(name));
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

    private SequencedMap<String, Object> values() {
        int blocks = map.counterparts().size();
        SequencedMap<String, Object> values = new LinkedHashMap<>();
        values.put("healed_blocks", blocks);
        values.put("steps_per_block", spec.steps());
        if (held.length > 0) {
            values.put("held_out_error_before", before / blocks);
            values.put("held_out_error", after / blocks);
        }
        return values;
    }
}
