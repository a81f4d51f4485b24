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
/// @param data the files to learn from, and how much of each; empty for a cache's own text
/// @param order of the windows in every epoch
/// @param batch windows a step
/// @param length tokens of a window; 0 for those of the cache
/// @param accumulate steps whose gradients are added before the weights change
/// @param train globs over names of tensors; empty for all
/// @param lora adapters that are trained in the place of all weights; null for none
/// @param holdout windows at the end of the text that are only measured
/// @param every steps between measurements on them
/// @param patience measurements without improvement before it stops; 0 for never
/// @param saveEvery steps between checkpoints
/// @param saveMinutes between checkpoints, whichever comes first; 0 for never
/// @param blockwise each block learns its teacher's output on its own; `steps` is for each
/// @param checkpointBlocks keep only the blocks' inputs and run them again on the way back
public record DistillSpec(
        Path teacher,
        Path teacherCache,
        Op.Missing missing,
        List<Part> data,
        Order order,
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
        double saveMinutes,
        boolean checkpointBlocks,
        boolean blockwise,
        Inside inside) {
    private static final int MOST = 100;

    /// A file of the data: .txt, or .jsonl with "text" or "messages".
    ///
    /// @param weight its part of the windows is its weight over the sum of all
    record Part(Path file, int weight) {}

    /// In which order an epoch sees the windows of a file.
    enum Order {
        SHUFFLED,
        FIRST
    }

    /// How the learning rate goes: up over `warmup` steps, then down to `end`.
    enum Schedule {
        COSINE,
        LINEAR,
        CONSTANT
    }

    /// @param peak learning rate
    /// @param end as a part of the peak
    record Rate(float peak, int warmup, Schedule schedule, float end) {}

    /// Losses between the blocks of the two models.
    ///
    /// @param hidden weight of the distance of the blocks' outputs
    /// @param attention weight of the divergence of the attention probabilities
    /// @param map the teacher's block that each of the student's stands for; empty to find it
    record Inside(float hidden, Op.Distance distance, float attention, List<Integer> map) {
        boolean any() {
            return hidden != 0 || attention != 0;
        }
    }

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
        Inside inside =
                new Inside(
                        (float) loss.decimal("hidden", 0),
                        loss.choice("distance", Op.Distance.class, Op.Distance.MSE),
                        (float) loss.decimal("attention", 0),
                        o.integers("map"));
        if (!weights.asksTeacher() && weights.ce() == 0 && !inside.any()) {
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
        boolean blockwise = o.flag("blockwise", false);
        if (cached && (inside.any() || blockwise)) {
            throw o.error(
                    "teacherCache",
                    "a teacherCache holds predictions only; blocks need the teacher itself");
        }
        if (!cached && (weights.asksTeacher() || inside.any() || blockwise)) {
            o.text("teacher");
        }
        return new DistillSpec(
                path(o, "teacher"),
                path(o, "teacherCache"),
                missing(o, weights),
                data(o, cached),
                o.choice("order", Order.class, Order.SHUFFLED),
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
                minutes(o),
                o.flag("checkpointBlocks", false),
                blockwise,
                inside);
    }

    private static List<Part> data(Options o, boolean cached) {
        if (cached && o.has("mix")) {
            throw o.error("mix", "a teacherCache has a text of its own; leave mix out");
        }
        if (cached && !o.has("data")) {
            return List.of();
        }
        if (!o.has("mix")) {
            return List.of(new Part(Path.of(o.text("data")), 1));
        }
        if (o.has("data")) {
            throw o.error("mix", "data and mix are both given; leave one out");
        }
        List<Part> parts = o.texts("mix").stream().map(text -> part(o, text)).toList();
        if (parts.isEmpty() || parts.size() > MOST) {
            throw o.error(
                    "mix", "mix has %d files, expected 1 to %d".formatted(parts.size(), MOST));
        }
        return parts;
    }

    /// `a.txt:3`.
    private static Part part(Options o, String text) {
        int colon = text.lastIndexOf(':');
        String weight = text.substring(colon + 1);
        if (colon < 1 || !weight.matches("[0-9]{1,4}") || Integer.parseInt(weight) == 0) {
            throw o.error(
                    "mix",
                    "mix has %s, expected FILE:WEIGHT with a whole weight from 1 to 9999, as a.txt:3"
                            .formatted(text));
        }
        return new Part(Path.of(text.substring(0, colon)), Integer.parseInt(weight));
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

    /// Tokens that one change of the weights looks at.
    long tokensPerStep() {
        return (long) batch * length * accumulate;
    }

    /// Of each text.
    int[] weights() {
        return data.isEmpty() ? new int[] {1} : data.stream().mapToInt(Part::weight).toArray();
    }

    /// Where a text comes from.
    Path source(int text) {
        return data.isEmpty() ? teacherCache : data.get(text).file();
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
                order,
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
                saveMinutes,
                checkpointBlocks,
                blockwise,
                inside);
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

    private static double minutes(Options o) {
        double value = o.decimal("saveMinutes", 10);
        if (!(value >= 0 && Double.isFinite(value))) {
            throw o.error("saveMinutes", "saveMinutes is %s, expected 0 or more".formatted(value));
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
