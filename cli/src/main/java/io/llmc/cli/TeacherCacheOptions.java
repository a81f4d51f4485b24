// SPDX-License-Identifier: Apache-2.0
package io.llmc.cli;

import io.llmc.cli.options.Setting;
import io.llmc.distill.SaveTeacherStep;
import io.llmc.pipeline.RecipeException;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import picocli.CommandLine.Option;

/// Mixin: a teacher's predictions are written.
final class TeacherCacheOptions {
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

    boolean saves() {
        return save != null;
    }

    /// Refuses what only saving takes.
    void requireNone() {
        if (topK != null) {
            throw new RecipeException("--top-k", "belongs to --save-teacher, which is not given");
        }
    }

    /// The recipe that saves a teacher's predictions.
    ///
    /// @param training what was given for a distillation
    RecipeTree toRecipe(List<Setting> training) {
        String step = "steps.0.save-teacher";
        Map<String, String> shared = new HashMap<>();
        SaveTeacherStep.FACTORY.options().forEach(o -> shared.put(o.flag(), o.key()));
        RecipeTree tree = new RecipeTree("recipe");
        tree.expect("model", "--teacher");
        tree.expect(step + ".data", "--data");
        tree.put("output", save, "--save-teacher");
        tree.put(step, new LinkedHashMap<>(), "--save-teacher");
        tree.put(step + ".topK", topK, "--top-k");
        for (Setting s : training) {
            if (s.key().equals("teacher")) {
                tree.put("model", s.value(), s.flag());
            } else if (shared.containsKey(s.flag())) {
                tree.put(step + "." + shared.get(s.flag()), s.value(), s.flag());
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
