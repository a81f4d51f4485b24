// SPDX-License-Identifier: Apache-2.0
package io.llmc.cli;

import java.util.List;
import picocli.CommandLine.Option;

/// Mixin: what a student learns, and how.
final class TrainingOptions {
    @Option(names = "--teacher", paramLabel = "DIR", description = "The model to learn from.")
    private String teacher;

    @Option(
            names = "--data",
            paramLabel = "FILE",
            description =
                    "Text to learn from: .txt, or .jsonl with \"text\" or \"messages\" in every"
                            + " line.")
    private String data;

    @Option(
            names = "--mix",
            paramLabel = "FILES",
            description = "Several texts in the place of --data, with weights: a.txt:3,b.jsonl:1.")
    private String mix;

    @Option(
            names = "--order",
            paramLabel = "HOW",
            description =
                    "Windows of an epoch: shuffled (default), or first, as they are in the text.")
    private String order;

    @Option(
            names = "--steps",
            paramLabel = "N",
            description = "Changes of the weights (default: 500).")
    private Integer steps;

    @Option(names = "--batch", paramLabel = "N", description = "Windows a step (default: 8).")
    private Integer batch;

    @Option(
            names = "--length",
            paramLabel = "N",
            description = "Tokens of a window (default: 256).")
    private Integer length;

    @Option(
            names = "--accumulate",
            paramLabel = "N",
            description =
                    "Batches whose gradients are added before the weights change (default: 1).")
    private Integer accumulate;

    @Option(
            names = "--lr",
            paramLabel = "X",
            description = "Highest learning rate (default: 3e-4).")
    private Double lr;

    @Option(
            names = "--warmup",
            paramLabel = "N",
            description = "Steps until then (default: a tenth of the steps, 20 at most).")
    private Integer warmup;

    @Option(
            names = "--schedule",
            paramLabel = "HOW",
            description = "How the rate falls afterwards: cosine (default), linear, constant.")
    private String schedule;

    @Option(
            names = "--optimizer",
            paramLabel = "NAME",
            description =
                    "adamw (default), or adamw8bit: its memory in 8 bits, 10 bytes a weight instead"
                            + " of 16.")
    private String optimizer;

    @Option(
            names = "--weight-decay",
            paramLabel = "X",
            description = "Decoupled weight decay (default: 0).")
    private Double weightDecay;

    @Option(
            names = "--clip",
            paramLabel = "X",
            description = "Largest norm of the gradients, 0 for none (default: 1).")
    private Double clip;

    @Option(
            names = "--train",
            paramLabel = "GLOBS",
            description = "Tensors to train, by name, as *norm* (default: all).")
    private String train;

    @Option(
            names = "--lora",
            paramLabel = "RANK",
            description =
                    "Train low-rank adapters of the linear layers in the place of the weights, and"
                            + " merge them.")
    private Integer lora;

    @Option(
            names = "--adapter",
            description =
                    "Lora: write the adapters for peft and do not merge them; MODEL may be"
                            + " quantized then.")
    private boolean adapter;

    @Option(
            names = "--lora-alpha",
            paramLabel = "X",
            description =
                    "What an adapter adds is multiplied by X / RANK (default: twice the rank).")
    private Double loraAlpha;

    @Option(
            names = "--lora-targets",
            paramLabel = "GLOBS",
            description = "Linear layers that get an adapter (default: all of the blocks).")
    private String loraTargets;

    @Option(
            names = "--holdout",
            paramLabel = "N",
            description = "Windows at the end of the text that are only measured (default: 8).")
    private Integer holdout;

    @Option(
            names = "--every",
            paramLabel = "N",
            description = "Steps between measurements (default: 50).")
    private Integer every;

    @Option(
            names = "--patience",
            paramLabel = "N",
            description =
                    "Measurements without a better one before it stops, 0 for never (default: 0).")
    private Integer patience;

    @Option(
            names = "--save-every",
            paramLabel = "N",
            description = "Steps between checkpoints (default: 50).")
    private Integer saveEvery;

    @Option(
            names = "--save-minutes",
            paramLabel = "X",
            description =
                    "Minutes between checkpoints, whichever comes first, 0 for never (default:"
                            + " 10).")
    private Double saveMinutes;

    @Option(
            names = "--seed",
            paramLabel = "N",
            description = "Draws the order of the windows (default: 0).")
    private Long seed;

    @Option(
            names = "--kl",
            paramLabel = "X",
            description = "Weight of KL(teacher, student) (default: 1 if no other is given).")
    private Double kl;

    @Option(
            names = "--reverse-kl",
            paramLabel = "X",
            description = "Weight of KL(student, teacher).")
    private Double reverseKl;

    @Option(
            names = "--jsd",
            paramLabel = "X",
            description = "Weight of the generalised Jensen-Shannon divergence.")
    private Double jsd;

    @Option(
            names = "--ce",
            paramLabel = "X",
            description = "Weight of the cross entropy with the text.")
    private Double ce;

    @Option(
            names = "--hidden",
            paramLabel = "X",
            description =
                    "Weight of the distance between the blocks' outputs, through a learned"
                            + " projection where widths differ.")
    private Double hidden;

    @Option(
            names = "--distance",
            paramLabel = "HOW",
            description =
                    "Hidden: mse (default), relative to the mean square of the teacher's, or"
                            + " cosine.")
    private String distance;

    @Option(
            names = "--attention",
            paramLabel = "X",
            description = "Weight of KL(teacher, student) of the attention probabilities.")
    private Double attention;

    @Option(
            names = "--map",
            paramLabel = "LIST",
            description =
                    "Hidden, attention, blockwise: the teacher's block that each of the student's"
                            + " stands for, from 0, as 0,2,4 (default: found by equal norms, else"
                            + " evenly spread).")
    private String map;

    @Option(
            names = "--temperature",
            paramLabel = "X",
            description = "Of both predictions in the first three (default: 1).")
    private Double temperature;

    @Option(
            names = "--beta",
            paramLabel = "X",
            description = "Jsd: the teacher's part of the mixture (default: 0.5).")
    private Double beta;

    @Option(
            names = "--blockwise",
            description =
                    "Each block learns its teacher's output on its own, --steps for each, with two"
                            + " blocks in memory.")
    private boolean blockwise;

    @Option(
            names = "--checkpoint-blocks",
            description =
                    "Keep only the blocks' inputs and run the blocks twice: less memory, more"
                            + " time.")
    private boolean checkpointBlocks;

    List<Setting> toSettings() {
        return List.of(
                new Setting("teacher", teacher, "--teacher"),
                new Setting("data", data, "--data"),
                Setting.list("mix", mix, "--mix"),
                new Setting("order", order, "--order"),
                new Setting("steps", steps, "--steps"),
                new Setting("batch", batch, "--batch"),
                new Setting("length", length, "--length"),
                new Setting("accumulate", accumulate, "--accumulate"),
                new Setting("lr", lr, "--lr"),
                new Setting("warmup", warmup, "--warmup"),
                new Setting("schedule", schedule, "--schedule"),
                new Setting("optimizer", optimizer, "--optimizer"),
                new Setting("weightDecay", weightDecay, "--weight-decay"),
                new Setting("clip", clip, "--clip"),
                Setting.list("train", train, "--train"),
                new Setting("lora", lora, "--lora"),
                new Setting("adapter", adapter ? true : null, "--adapter"),
                new Setting("loraAlpha", loraAlpha, "--lora-alpha"),
                Setting.list("loraTargets", loraTargets, "--lora-targets"),
                new Setting("holdout", holdout, "--holdout"),
                new Setting("every", every, "--every"),
                new Setting("patience", patience, "--patience"),
                new Setting("saveEvery", saveEvery, "--save-every"),
                new Setting("saveMinutes", saveMinutes, "--save-minutes"),
                new Setting("seed", seed, "--seed"),
                new Setting("loss.kl", kl, "--kl"),
                new Setting("loss.reverseKl", reverseKl, "--reverse-kl"),
                new Setting("loss.jsd", jsd, "--jsd"),
                new Setting("loss.ce", ce, "--ce"),
                new Setting("loss.hidden", hidden, "--hidden"),
                new Setting("loss.distance", distance, "--distance"),
                new Setting("loss.attention", attention, "--attention"),
                Setting.list("map", map, "--map"),
                new Setting("blockwise", blockwise ? true : null, "--blockwise"),
                new Setting("loss.temperature", temperature, "--temperature"),
                new Setting("loss.beta", beta, "--beta"),
                new Setting(
                        "checkpointBlocks", checkpointBlocks ? true : null, "--checkpoint-blocks"));
    }
}
