// SPDX-License-Identifier: Apache-2.0
package io.llmc.prune;

import io.llmc.backend.Backend;
import io.llmc.backend.BackendOptions;
import io.llmc.backend.TensorArena;
import io.llmc.backend.cpu.CpuBackend;
import io.llmc.formats.Checkpoint;
import io.llmc.model.Forward;
import io.llmc.model.LanguageModel;
import io.llmc.model.arch.Architectures;
import io.llmc.pipeline.HiddenStates;
import io.llmc.pipeline.ModuleReport;
import io.llmc.pipeline.Options;
import io.llmc.pipeline.Progress;
import io.llmc.pipeline.Recipe;
import io.llmc.pipeline.SweepResult;
import io.llmc.pipeline.SweepRunner;
import io.llmc.solver.Host;
import io.llmc.tensor.DType;
import io.llmc.tensor.Shape;
import io.llmc.tensor.Tensor;
import io.llmc.tokenizer.Windows;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.stream.Stream;

/// One sweep over a tiny model, on the first windows of a text of random words.
///
/// @param passes as in a recipe
record TestSweep(Path model, List<Map<String, Object>> passes) {
    static final int SAMPLES = 24;
    static final int LENGTH = 32;

    /// What a crash looks like from inside.
    static final class Killed extends RuntimeException {}

    static TestSweep of(Path model, String method, Map<String, Object> options) {
        return new TestSweep(model, List.of(Map.of(method, options)));
    }

    SweepResult run(Path out) throws IOException {
        return run(out, 2, Integer.MAX_VALUE);
    }

    SweepResult run(Path out, int threads, int blocksBeforeDeath) throws IOException {
        Recipe recipe = recipe();
        try (Backend backend =
                new CpuBackend(new BackendOptions(threads, BackendOptions.Math.AUTO))) {
            return new SweepRunner(
                            backend, Long.MAX_VALUE, false, "test", dyingAfter(blocksBeforeDeath))
                    .run(recipe, (Recipe.Sweep) recipe.steps().getFirst(), model, out);
        }
    }

    Recipe recipe() throws IOException {
        Path text = model.resolveSibling("text.txt");
        Files.writeString(text, WordTokenizer.text(ids(model)));
        Map<String, Object> tree = new LinkedHashMap<>();
        tree.put("model", model.toString());
        tree.put("output", "unused");
        tree.put(
                "calibration",
                Map.of(
                        "data",
                        text.toString(),
                        "samples",
                        SAMPLES,
                        "length",
                        LENGTH,
                        "order",
                        "first"));
        tree.put("steps", List.of(Map.of("sweep", passes)));
        tree.put("save", Map.of("layout", "dense"));
        return Recipe.read(Options.of(tree), PrunePasses.ALL, tree);
    }

    /// The ids that a sweep over the model calibrates with.
    static int[] ids(Path model) {
        return WordTokenizer.ids(SAMPLES * LENGTH, EditedCheckpoint.words(model));
    }

    private static Progress dyingAfter(int blocks) {
        return new Progress() {
            private int left = blocks;

            @Override
            public void begin(String task, long total) {}

            @Override
            public void advance(long by, String detail) {
                if (!detail.isEmpty() && --left < 0) {
                    throw new Killed();
                }
            }

            @Override
            public void end() {}

            @Override
            public void note(String line) {}
        };
    }

    /// Every file of a directory.
    static Map<String, List<Byte>> files(Path directory) throws IOException {
        Map<String, List<Byte>> all = new TreeMap<>();
        try (Stream<Path> files = Files.list(directory)) {
            for (Path file : files.toList()) {
                List<Byte> bytes = new ArrayList<>();
                for (byte b : Files.readAllBytes(file)) {
                    bytes.add(b);
                }
                all.put(file.getFileName().toString(), bytes);
            }
        }
        return all;
    }

    static ModuleReport report(SweepResult result, String module) {
        return result.reports().stream()
                .filter(r -> r.module().equals(module))
                .findFirst()
                .orElseThrow(() -> new AssertionError("no report on " + module));
    }

    /// Logits of the first window, `[LENGTH * vocabulary]`.
    static float[] logits(Path directory) {
        int[] ids = WordTokenizer.ids(LENGTH, EditedCheckpoint.words(directory));
        try (Checkpoint c = Checkpoint.open(directory);
                Backend backend = new CpuBackend(BackendOptions.defaults());
                LanguageModel m = new LanguageModel(c, Architectures.specOf(c), backend);
                HiddenStates states = new HiddenStates(m, Windows.of(ids, LENGTH), null)) {
            states.embed();
            for (int i = 0; i < m.spec().layers().size(); i++) {
                states.advance(i);
            }
            List<float[]> logits = new ArrayList<>();
            states.forEach((x, _) -> logits.add(head(m, states, x)));
            return logits.getFirst();
        }
    }

    private static float[] head(LanguageModel m, HiddenStates states, Tensor x) {
        try (TensorArena arena = m.backend().newArena(1 << 22)) {
            Forward f = new Forward(m.backend(), arena, states.positions());
            Tensor normed = arena.allocate(DType.F32, x.shape());
            Tensor logits = arena.allocate(DType.F32, new Shape(x.rows(), m.spec().vocabulary()));
            m.finalNorm(f, normed, x);
            m.logits(f, logits, normed);
            return Host.floats(m.backend(), logits.reshape(logits.shape().size()));
        }
    }

    static double worst(float[] a, float[] b) {
        double worst = a.length == b.length ? 0 : Double.POSITIVE_INFINITY;
        for (int i = 0; i < a.length; i++) {
            worst = Math.max(worst, Math.abs(a[i] - b[i]));
        }
        return worst;
    }
}
