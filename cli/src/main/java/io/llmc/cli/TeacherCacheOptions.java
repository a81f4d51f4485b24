// SPDX-License-Identifier: Apache-2.0
package io.llmc.cli;

import io.llmc.pipeline.RecipeException;
import java.util.List;
import java.util.Map;
import picocli.CommandLine.Option;

/// Mixin: a teacher's predictions on disk, written or read.
final class TeacherCacheOptions {
    /// The settings of a distillation that saving has too, and their keys there.
    private static final Map<String, String> SHARED =
            Map.of("data", "data", "length", "length", "loss.temperature", "temperature");

    @Option(
            names = "--save-teacher",
            paramLabel = "CACHE",
            description =
                    "Ask the teacher about the text once and keep its predictions in this directory;"
                            + " MODEL and -o are not given then.")
    private String save;

    @Option(
            names = "--top-k",
            paramLabel = "K",
            description = "Predictions to keep of each token, with --save-teacher (default: 64).")
    private Integer topK;

    @Option(
            names = "--teacher-cache",
            paramLabel = "CACHE",
            description = "What --save-teacher has made, in the place of --teacher and --data.")
    private String cache;

    @Option(
            names = "--missing",
            paramLabel = "HOW",
            description =
                    "The probability that a cache does not hold: rest (default), one outcome more;"
                            + " zero, none.")
    private String missing;

    boolean saves() {
        return save != null;
    }

    /// Of the step distill.
    List<Setting> toSettings() {
        if (topK != null) {
            throw new RecipeException("--top-k", "belongs to --save-teacher, which is not given");
        }
        return List.of(
                new Setting("teacherCache", cache, "--teacher-cache"),
                new Setting("missing", missing, "--missing"));
    }

    /// The recipe that saves a teacher's predictions.
    ///
    /// @param training what was given for a distillation
    RecipeTree toRecipe(List<Setting> training) {
        String step = "steps.0.save-teacher";
        RecipeTree tree = new RecipeTree("recipe");
        tree.expect("model", "--teacher");
        tree.expect(step + ".data", "--data");
        tree.put("output", save, "--save-teacher");
        tree.put(step, new java.util.LinkedHashMap<>(), "--save-teacher");
        tree.put(step + ".topK", topK, "--top-k");
        refuse(new Setting("teacherCache", cache, "--teacher-cache"));
        refuse(new Setting("missing", missing, "--missing"));
        for (Setting s : training) {
            if (s.key().equals("teacher")) {
                tree.put("model", s.value(), s.flag());
            } else if (SHARED.containsKey(s.key())) {
                tree.put(step + "." + SHARED.get(s.key()), s.value(), s.flag());
            } else {
                refuse(s);
            }
        }
        return tree;
    }

    static void refuse(Setting s) {
        if (s.value() != null) {
            throw new RecipeException(
                    s.flag(), "does not go with --save-teacher, which trains nothing");
        }
    }
}
