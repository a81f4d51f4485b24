// SPDX-License-Identifier: Apache-2.0
package io.llmc.distill;

import io.llmc.backend.Op;
import io.llmc.pipeline.Options;
import java.nio.file.Path;
import java.util.List;

/// What a student learns, from whom, and how.
///
/// @param teacher a model directory
/// @param data text: .txt, or .jsonl with "text"
/// @param batch windows a step
/// @param length tokens of a window
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

    /// How precisely Adam remembers gradients: in F32, or in 8 bits.
    enum Algorithm {
        ADAMW,
        ADAMW8BIT
    }

    /// @param clip largest norm of all gradients together; 0 for none
    record Adam(
            Algorithm algorithm, float beta1, float beta2, float eps, float decay, float clip) {}

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
        return new DistillSpec(
                Path.of(o.text("teacher")),
                Path.of(o.text("data")),
                steps,
                count(o, "batch", 8),
                count(o, "length", 256),
                count(o, "accumulate", 1),
                weights,
                new Rate(
                        positive(o, "lr", 3e-4),
                        notNegative(o, "warmup", Math.min(20, steps / 10)),
                        o.choice("schedule", Schedule.class, Schedule.COSINE),
                        (float) o.decimal("lrEnd", 0.1)),
                new Adam(
                        o.choice("optimizer", Algorithm.class, Algorithm.ADAMW),
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
