// SPDX-License-Identifier: Apache-2.0
package io.llmc.distill;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.ObjectMapper;
import io.llmc.backend.Backend;
import io.llmc.distill.Lesson.Pupil;
import io.llmc.distill.spec.DistillSpec;
import io.llmc.distill.student.PeftAdapter;
import io.llmc.distill.student.TrainedModel;
import io.llmc.distill.student.WriteBack;
import io.llmc.distill.teacher.CacheHeader;
import io.llmc.distill.teacher.TeacherCache;
import io.llmc.distill.training.Batches;
import io.llmc.distill.training.LearningRate;
import io.llmc.distill.training.LossPlot;
import io.llmc.distill.training.Losses;
import io.llmc.distill.training.Optimizer;
import io.llmc.distill.training.StepMemory;
import io.llmc.distill.training.StepTimes;
import io.llmc.distill.training.TrainState;
import io.llmc.formats.UserException;
import io.llmc.formats.checkpoint.Checkpoint;
import io.llmc.pipeline.Journal;
import io.llmc.pipeline.Step;
import io.llmc.pipeline.sweep.CheckpointCopy;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.lang.foreign.Arena;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.SequencedMap;

/// The training loop: from the last saved state to the written student.
///
/// @param teacher null where a cache or nobody is asked
/// @param cache null for none
record DistillRun(
        Step.Context scope,
        DistillSpec spec,
        Checkpoint student,
        Checkpoint teacher,
        TeacherCache cache,
        Journal journal,
        StepTimes times) {
    private static final ObjectMapper JSON = new ObjectMapper();

    /// A loss that has risen so many times over its beginning does not come back.
    private static final double DIVERGED = 10;

    SequencedMap<String, Object> run(Batches batches) {
        StepMemory memory = memory();
        try (TrainedModel model = TrainedModel.of(student, scope.backend(), spec)) {
            SequencedMap<String, Object> values =
                    new Lesson(scope.backend(), spec, student, teacher, cache)
                            .taught(model, memory, pupil -> learn(model, pupil, batches));
            write(scope, spec, student, model, work());
            return values;
        }
    }

    private SequencedMap<String, Object> learn(TrainedModel model, Pupil pupil, Batches batches) {
        LearningRate rates = new LearningRate(spec.rate(), spec.steps());
        TrainState state = TrainState.restore(stateFile(), model);
        if (state == null) {
            state = TrainState.beginning();
        } else {
            scope.progress().note("continuing after step " + state.step());
        }
        scope.progress().begin("distilling", spec.steps());
        scope.progress().advance(state.step(), "");
        // A run that had stopped for good, and was killed before it was written, has nothing to
        // learn.
        boolean stopped = isOut(state);
        for (int step = state.step() + 1; step <= spec.steps() && !stopped; step++) {
            times.begin();
            Losses losses = step(pupil, rates, batches, step, state);
            double speed = times.done(step, spec.tokensPerStep());
            state = new TrainState(step, state.best(), state.since(), state.log());
            scope.progress()
                    .advance(1, "loss %.4f, %.0f tokens/s".formatted(losses.total(spec), speed));
            if (step % spec.every() == 0 || step == spec.steps()) {
                journal.seal();
                state = judged(state, pupil.held(batches), model);
                stopped = isOut(state);
            }
            boolean last = stopped || step == spec.steps();
            if (last || step % spec.saveEvery() == 0 || times.asksToSave()) {
                pupil.optimizer().requireSound("step " + step, work());
                journal.seal();
                state.save(stateFile(), model);
                times.saved();
            }
        }
        scope.progress().end();
        if (spec.holdout() > 0) {
            requireBest(state, model);
        }
        Losses held = pupil.held(batches);
        writeLog(state.log(), work());
        return values(state, held, model);
    }

    /// The model with what it has learnt, or the adapter alone.
    static void write(
            Step.Context scope,
            DistillSpec spec,
            Checkpoint student,
            WriteBack.Learnt learnt,
            Path work) {
        Backend backend = scope.backend();
        WriteBack result = WriteBack.of(student, spec.lora(), learnt, backend);
        if (spec.lora() == null || spec.lora().merges()) {
            long shardSize = scope.recipe().save().shardSize();
            CheckpointCopy.write(result.checkpoint(), work, shardSize, backend);
            return;
        }
        try (Arena memory = backend.host().newArena()) {
            new PeftAdapter(result.student(), spec.lora(), scope.model())
                    .write(result.adapters(memory), work);
        }
    }

    private void requireBest(TrainState state, TrainedModel model) {
        if (Double.isInfinite(state.best())) {
            throw new UserException(
                    "the loss on the held-out windows was never a finite number",
                    "lower {lr} and pass {force} to begin anew, or look at the teacher with llmc"
                            + " eval");
        }
        if (TrainState.restoreWeights(bestFile(), model) == null) {
            throw new UserException(
                    bestFile() + ", the weights that did best, is damaged",
                    "check the disk, delete " + work() + " and run the command again");
        }
    }

    private StepMemory memory() {
        CacheHeader header = cache == null ? null : cache.header();
        StepMemory memory =
                StepMemory.of(student, teacher, header, spec, scope.backend(), scope.memory());
        if (memory.checkpoints() && !spec.checkpointBlocks()) {
            scope.progress().note("to keep to {memory}, every block runs twice");
        }
        return memory;
    }

    /// Whether patience has run out.
    private boolean isOut(TrainState state) {
        return spec.patience() > 0 && state.since() >= spec.patience();
    }

    private Path work() {
        return journal.directory();
    }

    private Path stateFile() {
        return work().resolve("train-state.bin");
    }

    private Path bestFile() {
        return work().resolve("best-weights.bin");
    }

    private Losses step(
            Pupil pupil, LearningRate rates, Batches batches, int step, TrainState state) {
        Optimizer optimizer = pupil.optimizer();
        Losses losses = pupil.learn(batches, step);
        double loss = losses.total(spec);
        double norm = optimizer.gradientNorm();
        optimizer.requireFinite("step " + step, loss, norm, work());
        requireNotDiverged(step, loss, state);
        float rate = rates.at(step - 1);
        optimizer.step(step, rate, norm);
        state.log().add(line(step, losses, norm, rate));
        return losses;
    }

    private void requireNotDiverged(int step, double loss, TrainState state) {
        if (step > 20 && loss > DIVERGED * first(state)) {
            throw new UserException(
                    "step %d: the loss has risen to %.3g, more than %.0f times what it began with"
                            .formatted(step, loss, DIVERGED),
                    "lower {lr} and pass {force} to begin anew; the last good state is kept in "
                            + work());
        }
    }

    private double first(TrainState state) {
        try {
            return JSON.readTree(state.log().getFirst()).path("loss").asDouble();
        } catch (JsonProcessingException e) {
            throw new IllegalStateException(e);
        }
    }

    private String line(int step, Losses losses, double norm, float rate) {
        SequencedMap<String, Object> values = new LinkedHashMap<>();
        values.put("step", step);
        values.put("loss", losses.total(spec));
        losses.describe(spec, values);
        values.put("gradient_norm", norm);
        values.put("learning_rate", rate);
        try {
            return JSON.writeValueAsString(values);
        } catch (JsonProcessingException e) {
            throw new IllegalStateException(e);
        }
    }

    private TrainState judged(TrainState state, Losses held, TrainedModel model) {
        if (held == null) {
            return state;
        }
        double loss = held.total(spec);
        String line = state.log().removeLast();
        state.log().add(line.substring(0, line.length() - 1) + ",\"held_out_loss\":" + loss + "}");
        if (loss < state.best()) {
            TrainState better = new TrainState(state.step(), loss, 0, state.log());
            better.saveWeights(bestFile(), model);
            return better;
        }
        return new TrainState(state.step(), state.best(), state.since() + 1, state.log());
    }

    static void writeLog(List<String> log, Path work) {
        try {
            Files.write(work.resolve("train-log.jsonl"), log);
            LossPlot.write(log, work.resolve("train-loss"));
        } catch (LinkageError | InternalError _) {
            // A Java without its desktop or a machine without fonts draws nothing; the log holds
            // it.
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    private SequencedMap<String, Object> values(TrainState state, Losses held, TrainedModel model) {
        SequencedMap<String, Object> values = new LinkedHashMap<>();
        values.put("steps", state.step());
        values.put("trained_weights", model.trainedWeights());
        if (held != null) {
            values.put("held_out_loss", held.total(spec));
        }
        return values;
    }
}
