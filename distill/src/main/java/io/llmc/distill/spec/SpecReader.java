// SPDX-License-Identifier: Apache-2.0
package io.llmc.distill.spec;

import io.llmc.backend.LossOp;
import io.llmc.pipeline.Mix;
import io.llmc.pipeline.Option;
import io.llmc.pipeline.Options;
import io.llmc.pipeline.pass.NamePatterns;
import io.llmc.tokenizer.WeightedText;
import java.util.List;

/// A recipe's `distill` section as a specification. What would change nothing is refused.
final class SpecReader {
    private static final long MOST_TOKENS = 1 << 24;
    private static final List<String> WEIGHTS =
            List.of("kl", "reverseKl", "jsd", "ce", "hidden", "attention");
    private static final List<String> UNUSED_BLOCKWISE =
            List.of("every", "patience", "checkpointBlocks");

    private SpecReader() {}

    static DistillSpec read(Options o) {
        boolean blockwise = DistillOptions.BLOCKWISE.read(o);
        Options loss = o.section("loss");
        if (blockwise) {
            String why = "with blockwise every block learns its teacher's output";
            refuse(o, UNUSED_BLOCKWISE, why);
            refuse(loss, List.copyOf(loss.keys()), why);
        }
        boolean named = WEIGHTS.stream().anyMatch(loss::has);
        LossOp.LossWeights weights =
                new LossOp.LossWeights(
                        named ? number(DistillOptions.KL, loss) : 1,
                        number(DistillOptions.REVERSE_KL, loss),
                        number(DistillOptions.JSD, loss),
                        number(DistillOptions.CE, loss),
                        number(DistillOptions.TEMPERATURE, loss),
                        number(DistillOptions.BETA, loss));
        DistillSpec.Inside inside =
                new DistillSpec.Inside(
                        number(DistillOptions.HIDDEN, loss),
                        DistillOptions.DISTANCE.read(loss),
                        number(DistillOptions.ATTENTION, loss),
                        DistillOptions.MAP.read(o));
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
        int holdout = DistillOptions.HOLDOUT.read(o);
        if (holdout == 0) {
            refuse(o, List.of("patience"), "no window is held out");
        }
        NamePatterns.read(o, "train");
        Lora lora = Lora.read(o);
        if (lora != null && o.has("train")) {
            throw o.error("train", "lora trains its adapters alone; leave train out");
        }
        int steps = DistillOptions.STEPS.read(o);
        int batch = DistillOptions.BATCH.read(o);
        int length = DistillOptions.LENGTH.read(o);
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
                DistillOptions.TEACHER.read(o),
                DistillOptions.TEACHER_CACHE.read(o),
                missing(o, weights),
                data(o, cached),
                DistillOptions.ORDER.read(o),
                steps,
                batch,
                cached && !o.has("length") ? 0 : length,
                DistillOptions.ACCUMULATE.read(o),
                weights,
                new DistillSpec.Rate(
                        number(DistillOptions.LR, o),
                        warmup(o, steps),
                        DistillOptions.SCHEDULE.read(o),
                        number(DistillOptions.LR_END, o)),
                new DistillSpec.Adam(
                        DistillOptions.OPTIMIZER.read(o),
                        number(DistillOptions.BETA1, o),
                        number(DistillOptions.BETA2, o),
                        number(DistillOptions.EPS, o),
                        number(DistillOptions.WEIGHT_DECAY, o),
                        number(DistillOptions.CLIP, o)),
                DistillOptions.TRAIN.read(o),
                lora,
                DistillOptions.SEED.read(o),
                holdout,
                DistillOptions.EVERY.read(o),
                DistillOptions.PATIENCE.read(o),
                DistillOptions.SAVE_EVERY.read(o),
                DistillOptions.SAVE_MINUTES.read(o),
                DistillOptions.CHECKPOINT_BLOCKS.read(o),
                blockwise,
                inside);
    }

    private static List<WeightedText> data(Options o, boolean cached) {
        if (cached && o.has("mix")) {
            throw o.error("mix", "a teacherCache has a text of its own; leave mix out");
        }
        if (cached && !o.has("data")) {
            return List.of();
        }
        if (!o.has("mix")) {
            return List.of(new WeightedText(o.path("data"), 1));
        }
        if (o.has("data")) {
            throw o.error("mix", "data and mix are both given; leave one out");
        }
        return Mix.read(o, "mix", DistillOptions.MIX.read(o));
    }

    private static LossOp.Missing missing(Options o, LossOp.LossWeights weights) {
        if (o.has("missing") && !o.has("teacherCache")) {
            throw o.error("missing", "only a teacherCache lacks probability");
        }
        LossOp.Missing missing = DistillOptions.MISSING.read(o);
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

    private static int warmup(Options o, int steps) {
        Integer given = DistillOptions.WARMUP.read(o);
        return given == null ? Math.min(20, steps / 10) : given;
    }

    private static float number(Option<Double> option, Options o) {
        return option.read(o).floatValue();
    }
}
