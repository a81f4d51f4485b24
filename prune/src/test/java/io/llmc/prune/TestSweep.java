// SPDX-License-Identifier: Apache-2.0
package io.llmc.prune;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.llmc.backend.Backend;
import io.llmc.backend.BackendOptions;
import io.llmc.backend.cpu.CpuBackend;
import io.llmc.pipeline.Inputs;
import io.llmc.pipeline.ModuleReport;
import io.llmc.pipeline.Options;
import io.llmc.pipeline.Progress;
import io.llmc.pipeline.Recipe;
import io.llmc.pipeline.RecipeRun;
import io.llmc.pipeline.Step;
import io.llmc.pipeline.SweepPlan;
import io.llmc.pipeline.sweep.Sweep;
import io.llmc.pipeline.sweep.SweepResult;
import io.llmc.pipeline.sweep.SweepStep;
import io.llmc.tokenizer.Windows;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.util.HexFormat;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.stream.Stream;

/// One sweep over a small model: on the first windows of its own calibration text, or of a text of
/// random words.
///
/// @param passes as in a recipe
public record TestSweep(Path model, List<Map<String, Object>> passes, int samples, int length) {
    static final int SAMPLES = 24;
    public static final int LENGTH = 32;

    /// What a crash looks like from inside.
    public static final class Killed extends RuntimeException {}

    /// What these recipes know.
    public static final List<Step.Factory> STEPS = List.of(SweepStep.factory(PrunePasses.ALL));

    public TestSweep(Path model, List<Map<String, Object>> passes) {
        this(model, passes, SAMPLES, LENGTH);
    }

    public static TestSweep of(Path model, String method, Map<String, Object> options) {
        return new TestSweep(model, List.of(Map.of(method, options)));
    }

    /// The same on other windows.
    public TestSweep on(int samples, int length) {
        return new TestSweep(model, passes, samples, length);
    }

    public SweepResult run(Path out) throws IOException {
        return run(out, 2, Integer.MAX_VALUE);
    }

    public SweepResult run(Path out, int threads, int blocksBeforeDeath) throws IOException {
        try (Backend backend =
                new CpuBackend(new BackendOptions(threads, BackendOptions.Math.AUTO))) {
            return run(out, backend, Long.MAX_VALUE, blocksBeforeDeath);
        }
    }

    public SweepResult run(Path out, Backend backend, long memory, int blocksBeforeDeath)
            throws IOException {
        return run(recipe(), model, out, backend, memory, dyingAfter(blocksBeforeDeath));
    }

    /// Runs a recipe of one sweep on a model, whichever it names.
    public static SweepResult run(
            Recipe recipe, Path model, Path out, Backend backend, long memory, Progress progress) {
        Step.Context context = context(recipe, model, out, backend, memory, progress);
        try (Step.Plan plan = recipe.steps().getFirst().plan(context)) {
            SweepResult result = (SweepResult) plan.run();
            context.directory().conclude();
            return result;
        }
    }

    public static Step.Context context(
            Recipe recipe, Path model, Path out, Backend backend, long memory, Progress progress) {
        RecipeRun run = new RecipeRun(recipe, Inputs.of(recipe, model), "test", false);
        return new Step.Context(run, backend, memory, progress, model, out);
    }

    public SweepPlan plan(Path out, Backend backend, long memory) throws IOException {
        return plan(recipe(), model, out, backend, memory);
    }

    public static SweepPlan plan(
            Recipe recipe, Path model, Path out, Backend backend, long memory) {
        Step.Context context = context(recipe, model, out, backend, memory, Progress.NONE);
        try (Sweep sweep = ((SweepStep) recipe.steps().getFirst()).plan(context)) {
            return sweep.sizes().orElseThrow();
        }
    }

    public Recipe recipe() throws IOException {
        Map<String, Object> tree = new LinkedHashMap<>();
        tree.put("model", model.toString());
        tree.put("output", "unused");
        tree.put(
                "calibration",
                Map.of(
                        "data",
                        text().toString(),
                        "samples",
                        samples,
                        "length",
                        length,
                        "order",
                        "first"));
        tree.put("steps", List.of(Map.of("sweep", passes)));
        tree.put("save", Map.of("layout", "dense"));
        return Recipe.read(Options.of(tree), STEPS, tree);
    }

    private Path text() throws IOException {
        Path own = model.resolve("calibration.txt");
        return Files.exists(own)
                ? own
                : Files.writeString(
                        model.resolveSibling("text.txt"), WordTokenizer.text(calibrationIds()));
    }

    /// The ids that it calibrates with, where the model has no text of its own.
    public int[] calibrationIds() {
        return WordTokenizer.ids(samples * length, EditedCheckpoint.words(model));
    }

    /// The ids that a sweep over the model calibrates with.
    public static int[] ids(Path model) {
        return new TestSweep(model, List.of()).calibrationIds();
    }

    /// Runs it with other numbers of threads, and after deaths, with and without what the dead run
    /// had saved for the next, and expects the same files each time.
    ///
    /// @param deaths each after so many finished blocks less one
    public void assertSameBytesWhateverHappens(Path temp, int... deaths) throws IOException {
        run(temp.resolve("calm"));
        Map<String, String> calm = files(temp.resolve("calm"));
        for (int threads : new int[] {1, 3}) {
            Path out = temp.resolve("threads-" + threads);
            run(out, threads, Integer.MAX_VALUE);
            assertThat(files(out)).as("%d threads", threads).isEqualTo(calm);
        }
        for (int death : deaths) {
            for (boolean lost : new boolean[] {false, true}) {
                Path out = temp.resolve("killed-%d-%s".formatted(death, lost));
                assertThatThrownBy(() -> run(out, 2, death)).isInstanceOf(Killed.class);
                assertThat(out).doesNotExist();
                if (lost) {
                    assertThat(forgetStates(out)).as("files of states").isPositive();
                }
                assertThat(run(out).resumedBlocks()).isPositive();
                assertThat(files(out)).as("killed after %d, %s", death, lost).isEqualTo(calm);
            }
        }
    }

    public static Path work(Path out) {
        return out.resolveSibling(out.getFileName() + ".llmc-partial");
    }

    private static int forgetStates(Path out) throws IOException {
        int count = 0;
        try (Stream<Path> files = Files.list(work(out))) {
            for (Path file : files.toList()) {
                if (file.getFileName().toString().startsWith("hidden-after-")) {
                    Files.delete(file);
                    count++;
                }
            }
        }
        return count;
    }

    /// Dies at the end of a block, here or in what a pass looks at first.
    public static Progress dyingAfter(int blocks) {
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

    /// The hash of every file of a directory.
    public static Map<String, String> files(Path directory) throws IOException {
        Map<String, String> all = new TreeMap<>();
        try (Stream<Path> files = Files.list(directory)) {
            for (Path file : files.toList()) {
                byte[] digest =
                        MessageDigest.getInstance("SHA-256").digest(Files.readAllBytes(file));
                all.put(file.getFileName().toString(), HexFormat.of().formatHex(digest));
            }
        } catch (NoSuchAlgorithmException e) {
            throw new IllegalStateException(e);
        }
        return all;
    }

    public static ModuleReport report(SweepResult result, String module) {
        return result.reports().stream()
                .filter(r -> r.module().equals(module))
                .findFirst()
                .orElseThrow(() -> new AssertionError("no report on " + module));
    }

    /// Logits of a window of words, `[16 * vocabulary]`: no model is too short for it.
    public static float[] logits(Path directory) {
        int[] ids = WordTokenizer.ids(16, EditedCheckpoint.words(directory));
        return PlainForward.of(directory, null, Windows.of(ids, 16)).logits();
    }

    public static double worst(float[] a, float[] b) {
        double worst = a.length == b.length ? 0 : Double.POSITIVE_INFINITY;
        for (int i = 0; i < a.length; i++) {
            double difference = Math.abs(a[i] - b[i]);
            worst = difference <= worst ? worst : difference;
        }
        return worst;
    }
}
