// SPDX-License-Identifier: Apache-2.0
package io.llmc.cli.terminal;

import io.llmc.distill.DistillStep;
import io.llmc.distill.SaveTeacherStep;
import io.llmc.evaluation.EvaluateStep;
import io.llmc.evaluation.blame.BlameStep;
import io.llmc.evaluation.latency.LatencyStep;
import io.llmc.evaluation.speculation.SpeculationStep;
import io.llmc.evaluation.tasks.TasksStep;
import io.llmc.pipeline.Option;
import io.llmc.pipeline.Recipe;
import io.llmc.pipeline.generation.GenerationSettings;
import io.llmc.prune.PrunePasses;
import io.llmc.quantize.QuantizePasses;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Stream;

/// Settings in sentences: what a library calls `{calibration.length}` is `--calib-length` where
/// flags are given, and `calibration.length` in a recipe.
public final class Spelling {
    private static final Pattern SETTING = Pattern.compile("\\{([a-zA-Z][a-zA-Z0-9.]*)\\}");

    /// Those that say how the work is done are flags always.
    private static final Map<String, String> ALWAYS =
            Map.of(
                    "memory", "--memory",
                    "device", "--device",
                    "math", "--math",
                    "compute", "--compute",
                    "force", "--force");

    private static final Map<String, String> FLAGS = flags();

    private Spelling() {}

    private static Map<String, String> flags() {
        Map<String, String> flags = new HashMap<>(ALWAYS);
        flags.put("save.layout", "--layout");
        flags.put("save.shardSize", "--shard-size");
        flags.put("save.target", "--target");
        flags.put("save.tp", "--tp");
        flags.put("saveTeacher", "--save-teacher");
        flags.put("stride", "--stride");
        flags.put("gate", "--gate");
        flags.put("treatAs", "--treat-as");
        flags.put("saveKldBase", "--save-kld-base");
        List.of("tp", "pp", "ep", "context")
                .forEach(name -> flags.put("plan." + name, "--" + name));
        Recipe.CALIBRATION.forEach(o -> flags.put("calibration." + o.key(), o.flag()));
        Stream.concat(
                        Stream.concat(QuantizePasses.ALL.stream(), PrunePasses.ALL.stream())
                                .map(method -> method.options()),
                        Stream.concat(
                                Stream.of(
                                                EvaluateStep.FACTORY,
                                                BlameStep.FACTORY,
                                                DistillStep.FACTORY,
                                                SaveTeacherStep.FACTORY)
                                        .map(step -> step.options()),
                                Stream.of(
                                        TasksStep.OPTIONS,
                                        GenerationSettings.OPTIONS,
                                        LatencyStep.OPTIONS,
                                        SpeculationStep.OPTIONS)))
                .flatMap(List<Option<?>>::stream)
                .filter(option -> option.flag() != null)
                .forEach(option ->
                        flags.put(
                                option.key().substring(option.key().lastIndexOf('.') + 1),
                                option.flag()));
        return flags;
    }

    /// For whoever gave flags.
    public static String asFlags(String text) {
        return spelled(text, FLAGS);
    }

    /// For whoever wrote a recipe.
    public static String asKeys(String text) {
        return spelled(text, ALWAYS);
    }

    /// Braces that hold no setting stay as they are.
    private static String spelled(String text, Map<String, String> spellings) {
        return text.indexOf('{') < 0
                ? text
                : SETTING.matcher(text)
                        .replaceAll(m ->
                                Matcher.quoteReplacement(
                                        FLAGS.containsKey(m.group(1))
                                                ? spellings.getOrDefault(m.group(1), m.group(1))
                                                : m.group()));
    }
}
