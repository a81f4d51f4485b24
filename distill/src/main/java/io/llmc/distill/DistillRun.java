// SPDX-License-Identifier: Apache-2.0
package io.llmc.distill;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.ObjectMapper;
import io.llmc.backend.Backend;
import io.llmc.distill.Trainer.Losses;
import io.llmc.formats.Checkpoint;
import io.llmc.formats.CheckpointWriter;
import io.llmc.formats.TensorInfo;
import io.llmc.formats.TensorReader;
import io.llmc.formats.UserException;
import io.llmc.pipeline.Work;
import io.llmc.tensor.Tensor;
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
        Work.Scope scope,
        DistillSpec spec,
        Checkpoint student,
        Checkpoint teacher,
        TeacherCache cache,
        Path work) {
    private static final ObjectMapper JSON = new ObjectMapper();

    /// A loss that has risen so many times over its beginning does not come back.
    private static final double DIVERGED = 10;

    @SuppressWarnings("MustBeClosed") // both are resources of the try
    SequencedMap<String, Object> run(Batches batches) {
        Backend backend = scope.backend();
        TeacherCache saved = spec.loss().asksTeacher() ? cache : null;
        try (Student model = new Student(student, backend, spec);
                Teacher asked =
                        spec.loss().asksTeacher() && teacher != null
                                ? new Teacher(teacher, backend, spec.length())
                                : null;
                Trainer trainer =
                        new Trainer(
                                model,
                                asked,
                                saved,
                                spec,
                                Trainer.bytes(model, asked, saved, spec))) {
            Optimizer optimizer = new Optimizer(model, spec.adam());
            LearningRate rates = new LearningRate(spec.rate(), spec.steps());
            TrainState state = TrainState.restore(stateFile(), model);
            if (state == null) {
                state = TrainState.beginning();
            } else {
                scope.progress().note("continuing after step " + state.step());
            }
            scope.progress().begin("distilling", spec.steps());
            scope.progress().advance(state.step(), "");
            Losses held = held(trainer, batches);
            // A run that had stopped for good, and was killed before it was written, has nothing to
            // learn.
            boolean stopped = isOut(state);
            for (int step = state.step() + 1; step <= spec.steps() && !stopped; step++) {
                Losses losses = step(trainer, optimizer, rates, model, batches, step, state);
                state = new TrainState(step, state.best(), state.since(), state.log());
                scope.progress().advance(1, "loss %.4f".formatted(losses.total(spec.loss())));
                if (step % spec.every() == 0 || step == spec.steps()) {
                    held = held(trainer, batches);
                    state = judged(state, held, model);
                    stopped = isOut(state);
                }
                if (step % spec.saveEvery() == 0 || stopped) {
                    state.save(stateFile(), model);
                }
            }
            scope.progress().end();
            if (spec.holdout() > 0) {
                TrainState.restoreWeights(bestFile(), model);
                held = held(trainer, batches);
            }
            write(model);
            writeLog(state);
            delete();
            return values(state, held, model);
        }
    }

    /// Whether patience has run out.
    private boolean isOut(TrainState state) {
        return spec.patience() > 0 && state.since() >= spec.patience();
    }

    private Path stateFile() {
        return work.resolve("train-state.bin");
    }

    private Path bestFile() {
        return work.resolve("best-weights.bin");
    }

    private Losses step(
            Trainer trainer,
            Optimizer optimizer,
            LearningRate rates,
            Student model,
            Batches batches,
            int step,
            TrainState state) {
        model.zeroGradients();
        Losses losses = new Losses(0, 0, 0, 0, 0);
        for (int a = 0; a < spec.accumulate(); a++) {
            long number = (step - 1L) * spec.accumulate() + a;
            Losses mine =
                    trainer.learn(
                            batches.batch(number), batches.chosen(number), 1f / spec.accumulate());
            losses = a == 0 ? mine : losses.plus(mine);
        }
        double loss = losses.total(spec.loss());
        double norm = optimizer.gradientNorm();
        requireSound(step, loss, norm, state);
        float rate = rates.at(step - 1);
        optimizer.step(step, rate, norm);
        state.log().add(line(step, losses, norm, rate));
        return losses;
    }

    private void requireSound(int step, double loss, double norm, TrainState state) {
        if (!Double.isFinite(loss) || !Double.isFinite(norm)) {
            throw new UserException(
                    "step %d: the loss is %s and the norm of the gradients %s"
                            .formatted(step, loss, norm),
                    "lower --lr; the last good state is kept in " + work);
        }
        if (step > 20 && loss > DIVERGED * first(state)) {
            throw new UserException(
                    "step %d: the loss has risen to %.3g, more than %.0f times what it began with"
                            .formatted(step, loss, DIVERGED),
                    "lower --lr; the last good state is kept in " + work);
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
        values.put("loss", losses.total(spec.loss()));
        put(values, losses);
        values.put("gradient_norm", norm);
        values.put("learning_rate", rate);
        try {
            return JSON.writeValueAsString(values);
        } catch (JsonProcessingException e) {
            throw new IllegalStateException(e);
        }
    }

    private void put(SequencedMap<String, Object> values, Losses losses) {
        if (spec.loss().kl() != 0) {
            values.put("kl", losses.kl());
        }
        if (spec.loss().reverse() != 0) {
            values.put("reverse_kl", losses.reverse());
        }
        if (spec.loss().jsd() != 0) {
            values.put("jsd", losses.jsd());
        }
        if (spec.loss().ce() != 0) {
            values.put("ce", losses.ce());
        }
    }

    /// Null where nothing is held out.
    private Losses held(Trainer trainer, Batches batches) {
        Losses sum = null;
        for (int from = 0; from < batches.holdout(); from += spec.batch()) {
            int to = Math.min(batches.holdout(), from + spec.batch());
            Losses mine = trainer.measure(batches.held(from, to), batches.chosenHeld(from, to));
            sum = sum == null ? mine : sum.plus(mine);
        }
        return sum;
    }

    private TrainState judged(TrainState state, Losses held, Student model) {
        if (held == null) {
            return state;
        }
        double loss = held.total(spec.loss());
        String line = state.log().removeLast();
        state.log().add(line.substring(0, line.length() - 1) + ",\"held_out_loss\":" + loss + "}");
        if (loss < state.best()) {
            TrainState.saveWeights(bestFile(), model);
            return new TrainState(state.step(), loss, 0, state.log());
        }
        return new TrainState(state.step(), state.best(), state.since() + 1, state.log());
    }

    /// Writes the student in the types that it had, reads it back and compares.
    private void write(Student model) {
        SequencedMap<String, Long> checksums = new LinkedHashMap<>();
        List<TensorInfo> plan = student.names().stream().map(student::info).toList();
        try (CheckpointWriter writer =
                        CheckpointWriter.create(
                                work, plan, scope.recipe().save().shardSize(), false);
                TensorReader reader = student.reader()) {
            for (TensorInfo info : plan) {
                try (Arena memory = Arena.ofShared()) {
                    Tensor t = model.written(info.name(), reader, memory);
                    writer.write(info.name(), t);
                    checksums.put(info.name(), CheckpointWriter.checksum(t));
                }
            }
            writer.finish();
        }
        student.config().write(work.resolve("config.json"));
        try (Checkpoint written = Checkpoint.open(work);
                TensorReader reader = written.reader()) {
            checksums.forEach((name, sum) -> {
                if (CheckpointWriter.checksum(reader.tensor(name)) != sum) {
                    throw new UserException(
                            "read back, tensor " + name + " is not what was written",
                            "check the disk and try again");
                }
            });
        }
    }

    private void writeLog(TrainState state) {
        try {
            Files.write(work.resolve("train-log.jsonl"), state.log());
            LossPlot.write(state.log(), work.resolve("train-loss"));
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    private void delete() {
        try {
            Files.deleteIfExists(stateFile());
            Files.deleteIfExists(bestFile());
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    private SequencedMap<String, Object> values(TrainState state, Losses held, Student model) {
        SequencedMap<String, Object> values = new LinkedHashMap<>();
        values.put("steps", state.step());
        values.put("trained_weights", model.trainedWeights());
        if (held != null) {
            values.put("held_out_loss", held.total(spec.loss()));
        }
        return values;
    }
}
