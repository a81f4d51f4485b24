// SPDX-License-Identifier: Apache-2.0
package io.llmc.pipeline;

import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.SerializationFeature;
import io.llmc.tokenizer.Windows;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.SequencedMap;

/// `llmc.json`: how an output was made. Holds nothing that differs between two runs of one recipe:
/// no times, no paths but file names.
public final class Provenance {
    public static final String FILE = "llmc.json";
    private static final ObjectMapper JSON =
            new ObjectMapper().enable(SerializationFeature.INDENT_OUTPUT);

    private Provenance() {}

    /// The parts of a recipe that decide what comes out: not where it goes, nor how fast.
    public static Map<String, Object> essence(Recipe recipe) {
        Map<String, Object> essence = new LinkedHashMap<>(recipe.source());
        List.of("output", "device", "threads", "memory").forEach(essence::remove);
        essence.replaceAll((key, value) -> fileNames(key, value));
        return essence;
    }

    private static Object fileNames(String key, Object value) {
        if (value instanceof Map<?, ?> map) {
            Map<String, Object> copy = new LinkedHashMap<>();
            map.forEach((k, v) -> copy.put(k.toString(), fileNames(k.toString(), v)));
            return copy;
        }
        if (value instanceof List<?> list) {
            return list.stream().map(v -> fileNames(key, v)).toList();
        }
        boolean path =
                key.equals("model")
                        || key.equals("data")
                        || key.equals("against")
                        || key.equals("teacher")
                        || key.equals("mix")
                        || Options.camel(key).equals("teacherCache");
        Path name =
                path && value != null
                        ? Path.of(value.toString()).toAbsolutePath().normalize().getFileName()
                        : null;
        return name == null ? value : name.toString();
    }

    /// Of a step that does no sweep.
    ///
    /// @param inputs file name to SHA-256
    /// @param values what was found
    public static void write(
            Path directory,
            String toolVersion,
            Recipe recipe,
            Map<String, String> inputs,
            SequencedMap<String, Object> values) {
        write(
                directory,
                toolVersion,
                recipe,
                inputs,
                null,
                List.of(new ModuleReport("model", values, 0, List.of())));
    }

    /// @param inputs file name to SHA-256
    /// @param windows null where nothing calibrated
    public static void write(
            Path directory,
            String toolVersion,
            Recipe recipe,
            Map<String, String> inputs,
            Windows windows,
            List<ModuleReport> reports) {
        SequencedMap<String, Object> root = new LinkedHashMap<>();
        root.put("llmc_version", toolVersion);
        root.put("recipe", essence(recipe));
        SequencedMap<String, Object> presets = new LinkedHashMap<>();
        recipe.steps().forEach(step -> presets.putAll(step.expanded()));
        if (!presets.isEmpty()) {
            root.put("presets", presets);
        }
        root.put("input_sha256", inputs);
        if (windows != null) {
            SequencedMap<String, Object> data = new LinkedHashMap<>();
            if (recipe.calibration().isOwn()) {
                data.put("text", "written by the model");
                data.put("seed", recipe.calibration().seed());
            }
            data.put("windows", windows.count());
            data.put("length", windows.length());
            data.put("ids_sha256", windows.hash());
            root.put("calibration", data);
        }
        List<Object> modules = new ArrayList<>();
        for (ModuleReport report : reports) {
            SequencedMap<String, Object> module = new LinkedHashMap<>();
            module.put("module", report.module());
            module.putAll(report.values());
            if (!report.warnings().isEmpty()) {
                module.put("warnings", report.warnings());
            }
            modules.add(module);
        }
        root.put("modules", modules);
        try {
            Files.writeString(directory.resolve(FILE), JSON.writeValueAsString(root) + "\n");
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }
}
