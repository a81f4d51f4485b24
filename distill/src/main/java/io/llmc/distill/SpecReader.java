// SPDX-License-Identifier: Apache-2.0
package io.llmc.distill;

import io.llmc.backend.LossOp;
import io.llmc.pipeline.NamePatterns;
import io.llmc.pipeline.Options;
import java.nio.file.Path;
import java.util.List;

/// A recipe's `distill` section as a specification. What would change nothing is refused.
final class SpecReader {
    private static final int MOST = 100;
    private static final long MOST_TOKENS = 1 << 24;
    private static final List<String> WEIGHTS =
            List.of("kl", "reverseKl", "jsd", "ce", "hidden", "attention");
    private static final List<String> UNUSED_BLOCKWISE =
            List.of("every", "patience", "checkpointBlocks");

    private SpecReader() {}

    static DistillSpec read(Options o) {
        boolean blockwise = o.flag("blockwise", false);
        Options loss = o.section("loss");
        if (blockwise) {
            String why = "with blockwise every block learns its teacher's output";
            refuse(o, UNUSED_BLOCKWISE, why);
            refuse(loss, List.copyOf(loss.keys()), why);
        }
        boolean named = WEIGHTS.stream().anyMatch(loss::has);
        LossOp.LossWeights weights =
                new LossOp.LossWeights(
                        weight(loss, "kl", named ? 0 : 1),
                        weight(loss, "reverseKl", 0),
                        weight(loss, "jsd", 0),
                        weight(loss, "ce", 0),
                        positive(loss, "temperature", 1),
                        between(loss, "beta", 0.5));
        DistillSpec.Inside inside =
                new DistillSpec.Inside(
                        weight(loss, "hidden", 0),
                        loss.choice("distance", LossOp.Distance.class, LossOp.Distance.MSE),
                        weight(loss, "attention", 0),
                        o.integers("map"));
        if (!weights.asksTeacher() && weights.ce() == 0 && !inside.any()) {
            throw loss.error("kl", "all losses have the weight 0, so there is nothing to learn");
        }
        if (!blockwise && !inside.any()) {
            refuse(o, List.of("map"), "no loss compares blocks");
        }
        if (inside.hidden() == 0) {
            refuse(loss, List.of("distance"), "the loss hidden has no weight");
        }
        if (weights.jsd() == 0) {
            refuse(loss, List.of("beta"), "the loss jsd has no weight");
        }
        if (!weights.asksTeacher()) {
            refuse(loss, List.of("temperature"), "no loss asks the teacher's predictions");
            refuse(o, List.of("missing"), "no loss asks the teacher's predictions");
        }
        int holdout = notNegative(o, "holdout", 8);
        if (holdout == 0) {
            refuse(o, List.of("patience"), "no window is held out");
        }
        NamePatterns.read(o, "train");
        Lora lora = Lora.read(o);
        if (lora != null && o.has("train")) {
            throw o.error("train", "lora trains its adapters alone; leave train out");
        }
        int steps = count(o, "steps", 500);
        int batch = count(o, "batch", 8);
        int length = o.has("length") ? count(o, "length", 256) : 256;
        if ((long) batch * length > MOST_TOKENS) {
            throw o.error(
                    "batch",
                    "batch x length is %,d tokens, expected %,d at most"
                            .formatted((long) batch * length, MOST_TOKENS));
        }
        boolean cached = o.has("teacherCache");
        if (cached && o.has("teacher")) {
            throw o.error("teacherCache", "a teacher is given too, and a student learns from one");
        }
        if (cached && (inside.any() || blockwise)) {
            throw o.error(
                    "teacherCache",
                    "a teacherCache holds predictions only; blocks need the teacher itself");
        }
        if (!cached && (weights.asksTeacher() || inside.any() || blockwise)) {
            o.text("teacher");
        }
        return new DistillSpec(
                o.path("teacher", (Path) null),
                o.path("teacherCache", (Path) null),
                missing(o, weights),
                data(o, cached),
                o.choice("order", DistillSpec.Order.class, DistillSpec.Order.SHUFFLED),
                steps,
                batch,
                cached && !o.has("length") ? 0 : length,
                count(o, "accumulate", 1),
                weights,
                new DistillSpec.Rate(
                        positive(o, "lr", 3e-4),
                        notNegative(o, "warmup", Math.min(20, steps / 10)),
                        o.choice(
                                "schedule",
                                DistillSpec.Schedule.class,
                                DistillSpec.Schedule.COSINE),
                        within(o, "lrEnd", 0.1, 0, 1)),
                new DistillSpec.Adam(
                        o.choice(
                                "optimizer",
                                DistillSpec.Algorithm.class,
                                DistillSpec.Algorithm.ADAMW),
                        within(o, "beta1", 0.9, 0, 0.9999999),
                        within(o, "beta2", 0.999, 0, 0.9999999),
                        positive(o, "eps", 1e-8),
                        within(o, "weightDecay", 0, 0, Float.MAX_VALUE),
                        within(o, "clip", 1, 0, Float.MAX_VALUE)),
                o.texts("train"),
                lora,
                o.whole("seed", 0),
                holdout,
                count(o, "every", 50),
                notNegative(o, "patience", 0),
                count(o, "saveEvery", 50),
                minutes(o),
                o.flag("checkpointBlocks", false),
                blockwise,
                inside);
    }

    private static List<DistillSpec.Part> data(Options o, boolean cached) {
        if (cached && o.has("mix")) {
            throw o.error("mix", "a teacherCache has a text of its own; leave mix out");
        }
        if (cached && !o.has("data")) {
            return List.of();
        }
        if (!o.has("mix")) {
            return List.of(new DistillSpec.Part(o.path("data"), 1));
        }
        if (o.has("data")) {
            throw o.error("mix", "data and mix are both given; leave one out");
        }
        List<DistillSpec.Part> parts = o.texts("mix").stream().map(text -> part(o, text)).toList();
        if (parts.isEmpty() || parts.size() > MOST) {
            throw o.error(
                    "mix", "mix has %d files, expected 1 to %d".formatted(parts.size(), MOST));
        }
        return parts;
    }

    /// `a.txt:3`.
    private static DistillSpec.Part part(Options o, String text) {
        int colon = text.lastIndexOf(':');
        String weight = text.substring(colon + 1);
        if (colon < 1 || !weight.matches("[0-9]{1,4}") || Integer.parseInt(weight) == 0) {
            throw o.error(
                    "mix",
                    "mix has %s, expected FILE:WEIGHT with a whole weight from 1 to 9999, as a.txt:3"
                            .formatted(text));
        }
        return new DistillSpec.Part(
                o.path("mix", text.substring(0, colon)), Integer.parseInt(weight));
    }

    private static LossOp.Missing missing(Options o, LossOp.LossWeights weights) {
        if (o.has("missing") && !o.has("teacherCache")) {
            throw o.error("missing", "only a teacherCache lacks probability");
        }
        LossOp.Missing missing = o.choice("missing", LossOp.Missing.class, LossOp.Missing.REST);
        if (missing == LossOp.Missing.ZERO && weights.reverse() != 0) {
            throw o.error("missing", "with zero the reverse KL is infinite; choose rest");
        }
        return missing;
    }

    private static void refuse(Options o, List<String> keys, String why) {
        for (String key : keys) {
            if (o.has(key)) {
                throw o.error(key, "%s would change nothing: %s".formatted(key, why));
            }
        }
    }

    private static float weight(Options loss, String key, double absent) {
        double value = loss.decimal(key, absent);
        if (!(value >= 0)) {
            throw loss.error(key, "%s is %s, expected 0 or more".formatted(key, value));
        }
        return (float) value;
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
        if (!((float) value > 0 && Float.isFinite((float) value))) {
            throw o.error(key, "%s is %s, expected above 0".formatted(key, value));
        }
        return (float) value;
    }

    private static float within(Options o, String key, double absent, double least, double most) {
        double value = o.decimal(key, absent);
        if (!(value >= least && value <= most)) {
            throw o.error(key, "%s is %s, expected %s to %s".formatted(key, value, least, most));
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
