// SPDX-License-Identifier: Apache-2.0
package io.llmc.distill;

import io.llmc.backend.Backend;
import io.llmc.distill.spec.DistillSpec;
import io.llmc.distill.spec.LayerMap;
import io.llmc.distill.student.TrainedModel;
import io.llmc.distill.teacher.TeacherCache;
import io.llmc.distill.training.Batches;
import io.llmc.distill.training.InsideLoss;
import io.llmc.distill.training.Losses;
import io.llmc.distill.training.Optimizer;
import io.llmc.distill.training.StepMemory;
import io.llmc.distill.training.Trainer;
import io.llmc.formats.checkpoint.Checkpoint;
import io.llmc.model.arch.Architectures;
import io.llmc.model.language.ResidentModel;
import java.util.function.Function;

/// Who learns from whom.
///
/// @param teacher null where a cache or nobody is asked
/// @param cache null for none
record Lesson(
        Backend backend,
        DistillSpec spec,
        Checkpoint student,
        Checkpoint teacher,
        TeacherCache cache) {
    /// A student with all that it learns by.
    record Pupil(DistillSpec spec, TrainedModel model, Trainer trainer, Optimizer optimizer) {
        /// Gradients of a step's batches.
        ///
        /// @param step counts from 1
        Losses learn(Batches batches, int step) {
            model.zeroGradients();
            Losses losses = Losses.NONE;
            for (int a = 0; a < spec.accumulate(); a++) {
                long number = (step - 1L) * spec.accumulate() + a;
                Losses mine =
                        trainer.learn(
                                batches.batch(number),
                                batches.chosen(number),
                                1f / spec.accumulate());
                losses = a == 0 ? mine : losses.plus(mine);
            }
            return losses;
        }

        /// Null where nothing is held out.
        Losses held(Batches batches) {
            Losses sum = null;
            for (int from = 0; from < batches.holdout(); from += spec.batch()) {
                int to = Math.min(batches.holdout(), from + spec.batch());
                Losses mine = held(batches, from, to);
                sum = sum == null ? mine : sum.plus(mine);
            }
            return sum;
        }

        /// @param to behind the last of the windows that are held out
        Losses held(Batches batches, int from, int to) {
            return trainer.measure(batches.held(from, to), batches.chosenHeld(from, to));
        }
    }

    /// Does something with the student while its teacher is in memory.
    @SuppressWarnings("MustBeClosed") // all are resources of the try
    <T> T taught(TrainedModel model, StepMemory memory, Function<Pupil, T> work) {
        TeacherCache saved = spec.loss().asksTeacher() ? cache : null;
        try (ResidentModel asked =
                        teacher != null && spec.asks()
                                ? new ResidentModel(
                                        teacher,
                                        Architectures.specOf(teacher),
                                        backend,
                                        spec.length())
                                : null;
                InsideLoss inside =
                        spec.inside().any()
                                ? new InsideLoss(
                                        model,
                                        asked,
                                        LayerMap.of(student, teacher, spec.inside().map()),
                                        spec)
                                : null;
                Trainer trainer = new Trainer(model, asked, saved, inside, spec, memory)) {
            Optimizer optimizer = new Optimizer(model.trained().values(), spec.adam(), backend);
            return work.apply(new Pupil(spec, model, trainer, optimizer));
        }
    }
}
