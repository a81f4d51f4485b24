// SPDX-License-Identifier: Apache-2.0
package io.llmc.distill;

import io.llmc.backend.Op;
import io.llmc.formats.UserException;
import io.llmc.pipeline.Options;
import java.nio.file.Path;
import java.util.List;

/// What a student learns, from whom, and how.
///
/// @param teacher a model directory; null where a cache or nobody is asked
/// @param teacherCache a directory that [SaveTeacherStep] has made; null for none
/// @param missing what becomes of the probability that a cache does not hold
/// @param data text: .txt, or .jsonl with "text"; null for the cache's own
/// @param batch windows a step
/// @param length tokens of a window; 0 for those of the cache
/// @param accumulate steps whose gradients are added before the weights change
/// @param train globs over names of tensors; empty for all
/// @param lora adapters that are trained in the place of all weights; null for none
/// @param holdout windows at the end of the text that are only measured
/// @param every steps between measurements on them
/// @param patience measurements without improvement before it stops; 0 for never
/// @param saveEvery steps between checkpoints
/// @param checkpointBlocks keep only the blocks' inputs and run them again on the way back
public record DistillSpec(
        Path teacher,
        Path teacherCache,
        Op.Missing missing,
        Path data,
        int steps,
        int batch,
        int length,
        int accumulate,
        Op.LossWeights loss,
        Rate rate,
        Adam adam,
        List<String> train,
        Lora lora,
        long seed,
        int holdout,
        int every,
        int patience,
        int saveEvery,
        boolean checkpointBlocks) {

    /// How the learning rate goes: up over `warmup` steps, then down to `end`.
    enum Schedule {
        COSINE,
        LINEAR,
        CONSTANT
    }

    /// @param peak learning rate
    /// @param end as a part of the peak
    record Rate(float peak, int warmup, Schedule schedule, float end) {}

    /// @param clip largest norm of all gradients together; 0 for none
    record Adam(float beta1, float beta2, float eps, float decay, float clip) {}

    static DistillSpec read(Options o) {
        Options loss = o.section("loss");
        boolean named = !loss.keys().isEmpty();
        Op.LossWeights weights =
                new Op.LossWeights(
                        (float) loss.decimal("kl", named ? 0 : 1),
                        (float) loss.decimal("reverseKl", 0),
                        (float) loss.decimal("jsd", 0),
                        (float) loss.decimal("ce", 0),
                        positive(loss, "temperature", 1),
                        between(loss, "beta", 0.5));
        if (!weights.asksTeacher() && weights.ce() == 0) {
            throw loss.error("kl", "all losses have the weight 0, so there is nothing to learn");
        }
        Lora lora = Lora.read(o);
        if (lora != null && o.has("train")) {
            throw o.error("train", "lora trains its adapters alone; leave train out");
        }
        int steps = count(o, "steps", 500);
        boolean cached = o.has("teacherCache");
        if (cached && o.has("teacher")) {
            throw o.error("teacherCache", "a teacher is given too, and a student learns from one");
        }
        if (!cached && weights.asksTeacher()) {
            o.text("teacher");
        }
        return new DistillSpec(
                path(o, "teacher"),
                path(o, "teacherCache"),
                missing(o, weights),
                cached ? path(o, "data") : Path.of(o.text("data")),
                steps,
                count(o, "batch", 8),
                cached && !o.has("length") ? 0 : count(o, "length", 256),
                count(o, "accumulate", 1),
                weights,
                new Rate(
                        positive(o, "lr", 3e-4),
                        notNegative(o, "warmup", Math.min(20, steps / 10)),
                        o.choice("schedule", Schedule.class, Schedule.COSINE),
                        (float) o.decimal("lrEnd", 0.1)),
                new Adam(
                        (float) o.decimal("beta1", 0.9),
                        (float) o.decimal("beta2", 0.999),
                        (float) o.decimal("eps", 1e-8),
                        (float) o.decimal("weightDecay", 0),
                        (float) o.decimal("clip", 1)),
                o.texts("train"),
                lora,
                o.whole("seed", 0),
                notNegative(o, "holdout", 8),
                count(o, "every", 50),
                notNegative(o, "patience", 0),
                count(o, "saveEvery", 50),
                o.flag("checkpointBlocks", false));
    }

    private static Path path(Options o, String key) {
        String value = o.text(key, null);
        return value == null ? null : Path.of(value);
    }

    private static Op.Missing missing(Options o, Op.LossWeights weights) {
        if (o.has("missing") && !o.has("teacherCache")) {
            throw o.error("missing", "only a teacherCache lacks probability");
        }
        Op.Missing missing = o.choice("missing", Op.Missing.class, Op.Missing.REST);
        if (missing == Op.Missing.ZERO && weights.reverse() != 0) {
            throw o.error("missing", "with zero the reverse KL is infinite; choose rest");
        }
        return missing;
    }

    /// These, with windows as long as a cache's.
    ///
    /// @throws UserException where the cache was made with another length or temperature
    DistillSpec matching(CacheHeader cache) {
        if (length != 0 && length != cache.length()) {
            throw new UserException(
                    "windows of %,d tokens are asked for, and those of %s have %,d"
                            .formatted(length, teacherCache, cache.length()),
                    "leave --length out, or save the teacher's predictions with that --length");
        }
        if (loss.asksTeacher() && loss.temperature() != cache.temperature()) {
            throw new UserException(
                    "the temperature is %s, and that of %s is %s"
                            .formatted(loss.temperature(), teacherCache, cache.temperature()),
                    "pass --temperature " + cache.temperature());
        }
        return new DistillSpec(
                teacher,
                teacherCache,
                missing,
                data,
                steps,
                batch,
                cache.length(),
                accumulate,
                loss,
                rate,
                adam,
                train,
                lora,
                seed,
                holdout,
                every,
                patience,
                saveEvery,
                checkpointBlocks);
    }

    private static int count(Options o, String key, int absent) {
        int value = o.integer(key, absent);
        if (value < 1) {
            throw o.error(key, "%s is %d, expected at least 1".formatted(key, value));
        }
        return value;
    }

    private static int notNegative(Options o, String key, int absent) {
        int value = o.integer(key, absent);
        if (value < 0) {
            throw o.error(key, "%s is %d, expected 0 or more".formatted(key, value));
        }
        return value;
    }

    private static float positive(Options o, String key, double absent) {
        double value = o.decimal(key, absent);
        if (!(value > 0)) {
            throw o.error(key, "%s is %s, expected above 0".formatted(key, value));
        }
        return (float) value;
    }

    private static float between(Options o, String key, double absent) {
        double value = o.decimal(key, absent);
        if (!(value > 0 && value < 1)) {
            throw o.error(key, "%s is %s, expected between 0 and 1".formatted(key, value));
        }
        return (float) value;
    }
}
