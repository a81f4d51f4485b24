// SPDX-License-Identifier: Apache-2.0
package io.llmc.distill.spec;

import io.llmc.backend.LossOp;
import io.llmc.pipeline.Option;
import java.nio.file.Path;
import java.util.List;

/// What a student learns, and how: the options of `distill`.
public final class DistillOptions {
    private static final String AT_LEAST_ONE = "at least 1";
    private static final String NOT_NEGATIVE = "0 or more";
    private static final String POSITIVE = "above 0";

    static final Option<Path> TEACHER = Option.path("teacher", "DIR", "The model to learn from.");

    static final Option<Path> DATA =
            Option.path(
                    "data",
                    "FILE",
                    "Text to learn from: .txt, or .jsonl with \"text\" or \"messages\" in every"
                            + " line.");

    static final Option<List<String>> MIX =
            Option.list(
                    "mix",
                    "FILES",
                    "Several texts in the place of {data}, with weights: a.txt:3,b.jsonl:1.");

    static final Option<DistillSpec.Order> ORDER =
            Option.choice(
                    "order",
                    DistillSpec.Order.class,
                    DistillSpec.Order.SHUFFLED,
                    "Windows of an epoch: shuffled (default), or first, as they are in the text.");

    static final Option<Integer> STEPS =
            count("steps", 500, "Changes of the weights (default: %s).");

    static final Option<Integer> BATCH = count("batch", 8, "Windows a step (default: %s).");

    static final Option<Integer> LENGTH = count("length", 256, "Tokens of a window (default: %s).");

    static final Option<Integer> ACCUMULATE =
            count(
                    "accumulate",
                    1,
                    "Batches whose gradients are added before the weights change (default: %s).");

    static final Option<Double> LR = positive("lr", 3e-4, "Highest learning rate (default: 3e-4).");

    static final Option<Integer> WARMUP =
            notNegative(
                    "warmup",
                    null,
                    "Steps until then (default: a tenth of the steps, 20 at most).");

    static final Option<DistillSpec.Schedule> SCHEDULE =
            Option.choice(
                    "schedule",
                    DistillSpec.Schedule.class,
                    DistillSpec.Schedule.COSINE,
                    "How the rate falls afterwards: cosine (default), linear, constant.");

    static final Option<Double> LR_END =
            within("lrEnd", 0.1, 0, 1, "Part of the rate that is left at the end (default: %s).")
                    .withoutFlag();

    static final Option<DistillSpec.Algorithm> OPTIMIZER =
            Option.choice(
                            "optimizer",
                            DistillSpec.Algorithm.class,
                            DistillSpec.Algorithm.ADAMW,
                            "adamw (default), or adamw8bit: its memory in 8 bits, 10 bytes a weight"
                                    + " instead of 16.")
                    .as("NAME");

    static final Option<Double> BETA1 =
            within("beta1", 0.9, 0, 0.9999999, "Decay of Adam's mean (default: %s).").withoutFlag();

    static final Option<Double> BETA2 =
            within("beta2", 0.999, 0, 0.9999999, "Decay of Adam's mean of squares (default: %s).")
                    .withoutFlag();

    static final Option<Double> EPS =
            positive("eps", 1e-8, "Added to the root of that mean (default: 1e-8).").withoutFlag();

    static final Option<Double> WEIGHT_DECAY =
            within("weightDecay", 0.0, 0, Float.MAX_VALUE, "Decoupled weight decay (default: %s).");

    static final Option<Double> CLIP =
            within(
                    "clip",
                    1.0,
                    0,
                    Float.MAX_VALUE,
                    "Largest norm of the gradients, 0 for none (default: %s).");

    static final Option<List<String>> TRAIN =
            Option.list("train", "GLOBS", "Tensors to train, by name, as *norm* (default: all).");

    static final Option<Integer> LORA =
            Option.integer(
                            "lora",
                            0,
                            "Train low-rank adapters of the linear layers in the place of the weights,"
                                    + " and merge them.")
                    .as("RANK")
                    .within("a rank of at least 1", rank -> rank >= 0);

    static final Option<Boolean> ADAPTER =
            Option.flag(
                    "adapter",
                    false,
                    "Lora: write the adapters for peft and do not merge them; MODEL may be"
                            + " quantized then.");

    static final Option<Double> LORA_ALPHA =
            Option.decimal(
                    "loraAlpha",
                    null,
                    "What an adapter adds is multiplied by X / RANK (default: twice the rank).");

    static final Option<List<String>> LORA_TARGETS =
            Option.list(
                    "loraTargets",
                    "GLOBS",
                    "Linear layers that get an adapter (default: all of the blocks).");

    static final Option<Integer> HOLDOUT =
            notNegative(
                    "holdout",
                    8,
                    "Windows at the end of the text that are only measured (default: %s).");

    static final Option<Integer> EVERY =
            count("every", 50, "Steps between measurements (default: %s).");

    static final Option<Integer> PATIENCE =
            notNegative(
                    "patience",
                    0,
                    "Measurements without a better one before it stops, 0 for never (default: %s).");

    static final Option<Integer> SAVE_EVERY =
            count("saveEvery", 50, "Steps between checkpoints (default: %s).");

    static final Option<Double> SAVE_MINUTES =
            Option.decimal(
                            "saveMinutes",
                            10.0,
                            "Minutes between checkpoints, whichever comes first, 0 for never"
                                    + " (default: %s).")
                    .within(NOT_NEGATIVE, m -> m >= 0);

    static final Option<Long> SEED =
            Option.whole("seed", 0L, "Draws the order of the windows (default: %s).");

    static final Option<Double> KL =
            weight("kl", "Weight of KL(teacher, student) (default: 1 if no other is given).");

    static final Option<Double> REVERSE_KL = weight("reverseKl", "Weight of KL(student, teacher).");

    static final Option<Double> JSD =
            weight("jsd", "Weight of the generalised Jensen-Shannon divergence.");

    static final Option<Double> CE = weight("ce", "Weight of the cross entropy with the text.");

    static final Option<Double> HIDDEN =
            weight(
                    "hidden",
                    "Weight of the distance between the blocks' outputs, through a learned"
                            + " projection where widths differ.");

    static final Option<LossOp.Distance> DISTANCE =
            Option.choice(
                    "loss.distance",
                    LossOp.Distance.class,
                    LossOp.Distance.MSE,
                    "Hidden: mse (default), relative to the mean square of the teacher's, or cosine.");

    static final Option<Double> ATTENTION =
            weight("attention", "Weight of KL(teacher, student) of the attention probabilities.");

    static final Option<List<Integer>> MAP =
            Option.integers(
                    "map",
                    "Hidden, attention, blockwise: the teacher's block that each of the student's"
                            + " stands for, from 0, as 0,2,4 (default: found by equal norms, else"
                            + " evenly spread).");

    static final Option<Boolean> BLOCKWISE =
            Option.flag(
                    "blockwise",
                    false,
                    "Each block learns its teacher's output on its own, {steps} for each, with two"
                            + " blocks in memory.");

    static final Option<Double> TEMPERATURE =
            positive(
                    "loss.temperature",
                    1.0,
                    "Of both predictions in the first three (default: %s).");

    static final Option<Double> BETA =
            Option.decimal(
                            "loss.beta",
                            0.5,
                            "Jsd: the teacher's part of the mixture (default: %s).")
                    .within("between 0 and 1", b -> b > 0 && b < 1);

    static final Option<Boolean> CHECKPOINT_BLOCKS =
            Option.flag(
                    "checkpointBlocks",
                    false,
                    "Keep only the blocks' inputs and run the blocks twice: less memory, more time.");

    static final Option<Path> TEACHER_CACHE =
            Option.path(
                    "teacherCache",
                    "CACHE",
                    "What {saveTeacher} has made, in the place of {teacher} and {data}.");

    static final Option<LossOp.Missing> MISSING =
            Option.choice(
                    "missing",
                    LossOp.Missing.class,
                    LossOp.Missing.REST,
                    "The probability that a cache does not hold: rest (default), one outcome more;"
                            + " zero, none.");

    public static final List<Option<?>> ALL =
            List.of(
                    TEACHER,
                    DATA,
                    MIX,
                    ORDER,
                    STEPS,
                    BATCH,
                    LENGTH,
                    ACCUMULATE,
                    LR,
                    WARMUP,
                    SCHEDULE,
                    LR_END,
                    OPTIMIZER,
                    BETA1,
                    BETA2,
                    EPS,
                    WEIGHT_DECAY,
                    CLIP,
                    TRAIN,
                    LORA,
                    ADAPTER,
                    LORA_ALPHA,
                    LORA_TARGETS,
                    HOLDOUT,
                    EVERY,
                    PATIENCE,
                    SAVE_EVERY,
                    SAVE_MINUTES,
                    SEED,
                    KL,
                    REVERSE_KL,
                    JSD,
                    CE,
                    HIDDEN,
                    DISTANCE,
                    ATTENTION,
                    MAP,
                    BLOCKWISE,
                    TEMPERATURE,
                    BETA,
                    CHECKPOINT_BLOCKS,
                    TEACHER_CACHE,
                    MISSING);

    private DistillOptions() {}

    public static Option<Integer> count(String key, int absent, String summary) {
        return Option.integer(key, absent, summary).within(AT_LEAST_ONE, n -> n >= 1);
    }

    private static Option<Integer> notNegative(String key, Integer absent, String summary) {
        return Option.integer(key, absent, summary).within(NOT_NEGATIVE, n -> n >= 0);
    }

    public static Option<Double> positive(String key, double absent, String summary) {
        return Option.decimal(key, absent, summary)
                .within(POSITIVE, v -> v.floatValue() > 0 && Float.isFinite(v.floatValue()));
    }

    private static Option<Double> within(
            String key, double absent, double least, double most, String summary) {
        return Option.decimal(key, absent, summary)
                .within("%s to %s".formatted(least, most), v -> v >= least && v <= most);
    }

    private static Option<Double> weight(String loss, String summary) {
        return Option.decimal("loss." + loss, 0.0, summary).within(NOT_NEGATIVE, w -> w >= 0);
    }
}
