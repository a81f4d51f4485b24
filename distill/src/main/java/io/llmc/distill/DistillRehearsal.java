// SPDX-License-Identifier: Apache-2.0
package io.llmc.distill;

import io.llmc.distill.spec.DistillSpec;
import io.llmc.distill.student.TrainedModel;
import io.llmc.distill.training.Batches;
import io.llmc.distill.training.LearningRate;
import io.llmc.distill.training.StepMemory;
import io.llmc.formats.checkpoint.Checkpoint;
import io.llmc.pipeline.Estimate;
import io.llmc.pipeline.plan.ReadingPace;
import io.llmc.pipeline.plan.Warming;

/// How long training will take, found by making its first steps, of which nothing is kept.
record DistillRehearsal(Lesson lesson, StepMemory memory) {
    /// Seconds of steps, about.
    private static final double LEARNING = 4;

    /// Those of looks at windows that are held out.
    private static final double LOOKING = 1;

    /// Times that the student's bytes are gone through once it has learnt: they are made, written,
    /// summed up and read back.
    private static final int TRIPS = 4;

    Estimate estimate(Batches batches) {
        Checkpoint student = lesson.student();
        double perByte = ReadingPace.secondsPerByte(student, lesson.backend().host());
        long written =
                lesson.spec().lora() == null || lesson.spec().lora().merges() ? bytes(student) : 0;
        long read = bytes(student) + bytes(lesson.teacher());
        double files = perByte * (read + TRIPS * written);
        try (TrainedModel model = TrainedModel.of(student, lesson.backend(), lesson.spec())) {
            return lesson.taught(
                    model,
                    memory,
                    pupil ->
                            Estimate.of(files)
                                    .plus(steps(pupil, batches))
                                    .plus(looks(pupil, batches)));
        }
    }

    /// @param c null for none
    private static long bytes(Checkpoint c) {
        return c == null ? 0 : c.names().stream().mapToLong(n -> c.info(n).byteSize()).sum();
    }

    private Estimate steps(Lesson.Pupil pupil, Batches batches) {
        DistillSpec spec = lesson.spec();
        LearningRate rates = new LearningRate(spec.rate(), spec.steps());
        int[] done = {0};
        Runnable step =
                () -> {
                    done[0]++;
                    pupil.learn(batches, done[0]);
                    double norm = pupil.optimizer().gradientNorm();
                    pupil.optimizer().step(done[0], rates.at(done[0] - 1), norm);
                };
        return Warming.of(LEARNING, spec.steps(), Warming.timed(step)).estimate(spec.steps());
    }

    private Estimate looks(Lesson.Pupil pupil, Batches batches) {
        DistillSpec spec = lesson.spec();
        if (batches.holdout() == 0) {
            return Estimate.of(0);
        }
        int some = Math.min(batches.holdout(), spec.batch());
        // One more in the end, of the weights that did best.
        double looks = Math.ceilDiv(spec.steps(), spec.every()) + 1;
        double times = looks * batches.holdout() / some;
        return Warming.of(LOOKING, times, Warming.timed(() -> pupil.held(batches, 0, some)))
                .estimate(times);
    }
}
