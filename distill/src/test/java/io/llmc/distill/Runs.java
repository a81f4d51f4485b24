// SPDX-License-Identifier: Apache-2.0
package io.llmc.distill;

import com.fasterxml.jackson.databind.ObjectMapper;
import io.llmc.backend.Backend;
import io.llmc.backend.BackendOptions;
import io.llmc.backend.cpu.CpuBackend;
import io.llmc.distill.training.StepTimes;
import io.llmc.formats.checkpoint.Checkpoint;
import io.llmc.formats.checkpoint.TensorReader;
import io.llmc.formats.safetensors.CheckpointWriter;
import io.llmc.pipeline.Inputs;
import io.llmc.pipeline.Options;
import io.llmc.pipeline.Progress;
import io.llmc.pipeline.Recipe;
import io.llmc.pipeline.RecipeRun;
import io.llmc.pipeline.Step;
import io.llmc.tensor.Floats;
import io.llmc.tensor.Tensor;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.MessageDigest;
import java.util.HexFormat;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.TreeMap;
import java.util.function.LongSupplier;
import java.util.stream.Stream;

/// Whole runs of the distill step, and crashes in the middle of them.
public final class Runs {
    private Runs() {}

    /// What a crash looks like from inside.
    static final class Killed extends RuntimeException {}

    /// A copy with noise on every weight.
    public static void disturb(Path source, Path target) throws IOException {
        Files.createDirectories(target);
        try (Checkpoint c = Checkpoint.open(source);
                TensorReader reader = c.reader();
                Arena memory = Arena.ofShared();
                CheckpointWriter writer =
                        CheckpointWriter.create(
                                target,
                                c.names().stream().map(c::info).toList(),
                                1L << 30,
                                false)) {
            Random random = new Random(4);
            for (String name : c.names()) {
                Tensor t = reader.tensor(name);
                MemorySegment copy = memory.allocate(t.byteSize(), 64);
                for (long i = 0; i < t.shape().size(); i++) {
                    float v = Floats.get(t.bytes(), t.dtype(), i);
                    float noise = (float) (0.3 * Math.abs(v) * random.nextGaussian());
                    Floats.set(copy, t.dtype(), i, v + noise);
                }
                writer.write(name, Tensor.of(copy, t.dtype(), t.shape().dims()));
            }
            writer.finish();
            c.config().write(target.resolve("config.json"));
            for (Path file : c.sideFiles()) {
                Files.copy(file, target.resolve(file.getFileName()));
            }
        }
    }

    /// Steps before a death that comes when all of them are done and nothing is written yet.
    static final int ALL = -1;

    static Step.Written run(
            Path student,
            Path teacher,
            Map<String, Object> more,
            Path out,
            int threads,
            int stepsBeforeDeath,
            long memory) {
        return run(
                student, teacher, more, out, threads, stepsBeforeDeath, memory, System::nanoTime);
    }

    static Step.Written run(
            Path student,
            Path teacher,
            Map<String, Object> more,
            Path out,
            int threads,
            int stepsBeforeDeath,
            long memory,
            LongSupplier nanos) {
        Map<String, Object> options = new LinkedHashMap<>();
        options.put("teacher", teacher.toString());
        options.put("data", teacher.resolve("calibration.txt").toString());
        options.putAll(
                Map.of(
                        "steps",
                        12,
                        "batch",
                        2,
                        "length",
                        64,
                        "lr",
                        1e-3,
                        "every",
                        4,
                        "saveEvery",
                        3,
                        "holdout",
                        4));
        options.putAll(more);
        if (more.containsKey("blockwise")) {
            // Refused there: blocks are measured before and after.
            options.remove("every");
        }
        Map<String, Object> tree = new LinkedHashMap<>();
        tree.put("model", student.toString());
        tree.put("output", "unused");
        tree.put("steps", List.of(Map.of("distill", options)));
        Recipe recipe = Recipe.read(Options.of(tree), List.of(DistillStep.FACTORY), tree);
        try (Backend backend =
                new CpuBackend(new BackendOptions(threads, BackendOptions.Math.AUTO))) {
            Step step = new DistillStep(((DistillStep) recipe.steps().getFirst()).spec(), nanos);
            RecipeRun run = new RecipeRun(recipe, Inputs.of(recipe, student), "test", false);
            Step.Context context =
                    new Step.Context(
                            run, backend, memory, dyingAfter(stepsBeforeDeath), student, out);
            step.check(context);
            Step.Written result = (Step.Written) step.plan(context).run();
            context.directory().conclude();
            return result;
        }
    }

    private static Progress dyingAfter(int steps) {
        return new Progress() {
            private int left = steps;
            private boolean learning;

            @Override
            public void begin(String task, long total) {
                learning = !task.startsWith("looking");
            }

            @Override
            public void advance(long by, String detail) {
                if (learning && steps != ALL && !detail.isEmpty() && --left < 0) {
                    throw new Killed();
                }
            }

            @Override
            public void end() {
                if (learning && steps == ALL) {
                    throw new Killed();
                }
            }

            @Override
            public void note(String line) {}
        };
    }

    /// Of every file but the one with the clock's readings.
    static Map<String, String> hashes(Path directory) throws Exception {
        Map<String, String> hashes = new TreeMap<>();
        try (Stream<Path> files = Files.list(directory)) {
            for (Path file : files.filter(f -> !f.endsWith(StepTimes.FILE)).toList()) {
                byte[] digest =
                        MessageDigest.getInstance("SHA-256").digest(Files.readAllBytes(file));
                hashes.put(file.getFileName().toString(), HexFormat.of().formatHex(digest));
            }
        }
        return hashes;
    }

    /// A figure of the record of what was written.
    static double figure(Path out, String key) throws IOException {
        return new ObjectMapper()
                .readTree(out.resolve("llmc.json").toFile())
                .findValue(key)
                .asDouble();
    }
}
