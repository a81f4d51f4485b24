// SPDX-License-Identifier: Apache-2.0
package io.llmc.quantize;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.llmc.backend.Backend;
import io.llmc.backend.BackendOptions;
import io.llmc.backend.cpu.CpuBackend;
import io.llmc.formats.TestFiles;
import io.llmc.formats.UserException;
import io.llmc.pipeline.Inputs;
import io.llmc.pipeline.Options;
import io.llmc.pipeline.Progress;
import io.llmc.pipeline.Recipe;
import io.llmc.pipeline.RecipeRun;
import io.llmc.pipeline.Step;
import io.llmc.pipeline.SweepPlan;
import io.llmc.pipeline.sweep.Sweep;
import io.llmc.pipeline.sweep.SweepResult;
import io.llmc.pipeline.sweep.SweepStep;
import java.io.IOException;
import java.io.RandomAccessFile;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.MessageDigest;
import java.util.HexFormat;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.stream.Stream;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

/// Whole sweeps over the bundled model: the same bytes whatever happens on the way.
class SweepTest {
    /// What these recipes know.
    static final List<Step.Factory> STEPS = List.of(SweepStep.factory(QuantizePasses.ALL));

    private static final Path MODEL = TestFiles.testdata().resolve("tale-llama");

    @TempDir static Path shared;
    private static Map<String, String> undisturbed;

    @TempDir Path temp;

    /// What a crash looks like from inside.
    static final class Killed extends RuntimeException {}

    @BeforeAll
    static void runUndisturbed() throws Exception {
        Path out = shared.resolve("out");
        run(gptq(Map.of()), out, 2, Long.MAX_VALUE, Integer.MAX_VALUE);
        undisturbed = hashes(out);
        assertThat(undisturbed)
                .containsKeys("model.safetensors", "config.json", "llmc.json", "tokenizer.json");
    }

    private static Map<String, Object> gptq(Map<String, Object> more) {
        Map<String, Object> options = new LinkedHashMap<>(Map.of("bits", 4, "groupSize", 64));
        options.putAll(more);
        return tree("gptq", options, "compressed-tensors");
    }

    private static Map<String, Object> tree(
            String method, Map<String, Object> options, String layout) {
        Map<String, Object> tree = new LinkedHashMap<>();
        tree.put("model", MODEL.toString());
        tree.put("output", "unused");
        if (method.equals("gptq")) {
            String data = MODEL.resolve("calibration.txt").toString();
            // More than one chunk, so that a memory cap has something to spill.
            tree.put("calibration", Map.of("data", data, "samples", 20, "length", 128, "seed", 7));
        }
        tree.put("steps", List.of(Map.of("sweep", List.of(Map.of(method, options)))));
        tree.put("save", Map.of("layout", layout));
        return tree;
    }

    private static SweepResult run(
            Map<String, Object> tree, Path out, int threads, long memory, int blocksBeforeDeath) {
        Recipe recipe = Recipe.read(Options.of(tree), STEPS, tree);
        try (Backend backend =
                new CpuBackend(new BackendOptions(threads, BackendOptions.Math.AUTO))) {
            return run(recipe, out, backend, memory, dyingAfter(blocksBeforeDeath));
        }
    }

    /// Runs a recipe of one sweep.
    static SweepResult run(
            Recipe recipe, Path out, Backend backend, long memory, Progress progress) {
        Step.Context context = context(recipe, out, backend, memory, progress);
        try (Step.Plan plan = recipe.steps().getFirst().plan(context)) {
            SweepResult result = (SweepResult) plan.run();
            context.directory().conclude();
            return result;
        }
    }

    private static Step.Context context(
            Recipe recipe, Path out, Backend backend, long memory, Progress progress) {
        RecipeRun run = new RecipeRun(recipe, Inputs.of(recipe), "test", false);
        return new Step.Context(run, backend, memory, progress, recipe.model(), out);
    }

    static SweepPlan plan(Recipe recipe, Path out, Backend backend, long memory) {
        Step.Context context = context(recipe, out, backend, memory, Progress.NONE);
        try (Sweep sweep = ((SweepStep) recipe.steps().getFirst()).plan(context)) {
            return sweep.sizes().orElseThrow();
        }
    }

    static Progress dyingAfter(int blocks) {
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

    private static Map<String, String> hashes(Path directory) throws Exception {
        Map<String, String> hashes = new TreeMap<>();
        try (Stream<Path> files = Files.list(directory)) {
            for (Path file : files.toList()) {
                byte[] digest =
                        MessageDigest.getInstance("SHA-256").digest(Files.readAllBytes(file));
                hashes.put(file.getFileName().toString(), HexFormat.of().formatHex(digest));
            }
        }
        return hashes;
    }

    @ParameterizedTest
    @ValueSource(ints = {1, 3})
    void threadsDoNotChangeABit(int threads) throws Exception {
        Path out = temp.resolve("out");
        run(gptq(Map.of()), out, threads, Long.MAX_VALUE, Integer.MAX_VALUE);
        assertThat(hashes(out)).isEqualTo(undisturbed);
    }

    @Test
    void aMemoryCapSpillsActivationsAndDoesNotChangeABit() throws Exception {
        Path out = temp.resolve("out");
        Map<String, Object> tree = gptq(Map.of());
        Recipe recipe = Recipe.read(Options.of(tree), STEPS, tree);
        try (Backend backend = new CpuBackend(BackendOptions.defaults())) {
            long free = plan(recipe, out, backend, Long.MAX_VALUE).peakBytes();
            SweepPlan plan = plan(recipe, out, backend, free - 1);
            assertThat(plan.spills()).isTrue();
            assertThat(plan.peakBytes()).isLessThan(free);
            run(recipe, out, backend, free - 1, Progress.NONE);
            assertThatThrownBy(() -> plan(recipe, out, backend, 1 << 20))
                    .isInstanceOf(UserException.class)
                    .hasMessageContaining("{memory} 1.0 MiB is too little");
        }
        assertThat(hashes(out)).isEqualTo(undisturbed);
    }

    @ParameterizedTest
    @ValueSource(ints = {0, 1, 2})
    void aRunThatDiedAfterABlockContinuesThere(int blocks) throws Exception {
        Path out = temp.resolve("out");
        assertThatThrownBy(() -> run(gptq(Map.of()), out, 2, Long.MAX_VALUE, blocks))
                .isInstanceOf(Killed.class);
        assertThat(out).doesNotExist();
        SweepResult result = run(gptq(Map.of()), out, 2, Long.MAX_VALUE, Integer.MAX_VALUE);
        // The block whose end was reported last had been journaled before it was reported.
        assertThat(result.resumedBlocks()).isEqualTo(blocks + 1);
        assertThat(hashes(out)).isEqualTo(undisturbed);
    }

    @Test
    void aDamagedBlockIsDoneAgain() throws Exception {
        Path out = temp.resolve("out");
        assertThatThrownBy(() -> run(gptq(Map.of()), out, 2, Long.MAX_VALUE, 1))
                .isInstanceOf(Killed.class);
        Path work = temp.resolve("out.llmc-partial");
        try (RandomAccessFile file =
                new RandomAccessFile(work.resolve("model.safetensors").toFile(), "rw")) {
            // Somewhere in the weights: the last byte of the file that is not zero yet.
            long at = file.length() - 1;
            do {
                file.seek(--at);
            } while (file.read() == 0);
            file.seek(at);
            file.write(0);
        }
        SweepResult result = run(gptq(Map.of()), out, 2, Long.MAX_VALUE, Integer.MAX_VALUE);
        assertThat(result.resumedBlocks()).isLessThan(2);
        assertThat(hashes(out)).isEqualTo(undisturbed);
    }

    @Test
    void lostActivationsAreComputedAgain() throws Exception {
        Path out = temp.resolve("out");
        assertThatThrownBy(() -> run(gptq(Map.of()), out, 2, Long.MAX_VALUE, 1))
                .isInstanceOf(Killed.class);
        try (Stream<Path> files = Files.list(temp.resolve("out.llmc-partial"))) {
            for (Path file : files.filter(f -> f.toString().endsWith(".bin")).toList()) {
                Files.delete(file);
            }
        }
        SweepResult result = run(gptq(Map.of()), out, 2, Long.MAX_VALUE, Integer.MAX_VALUE);
        assertThat(result.resumedBlocks()).isEqualTo(2);
        assertThat(hashes(out)).isEqualTo(undisturbed);
    }

    @Test
    void unfinishedWorkOfAnotherRecipeIsNotTouched() throws IOException {
        Path out = temp.resolve("out");
        assertThatThrownBy(() -> run(gptq(Map.of()), out, 2, Long.MAX_VALUE, 1))
                .isInstanceOf(Killed.class);
        assertThatThrownBy(() ->
                        run(gptq(Map.of("bits", 3)), out, 2, Long.MAX_VALUE, Integer.MAX_VALUE))
                .isInstanceOf(UserException.class)
                .hasMessageContaining("holds unfinished work of another command");
        assertThat(temp.resolve("out.llmc-partial/journal.jsonl")).exists();
    }

    /// Every spelling on disk, every width: the sweep itself reads its output back and compares
    /// logits.
    @ParameterizedTest
    @CsvSource({
        "rtn,compressed-tensors,2,64,true,",
        "rtn,compressed-tensors,3,64,true,",
        "rtn,compressed-tensors,4,channel,false,",
        "rtn,compressed-tensors,8,32,false,",
        "rtn,gptq,2,64,true,",
        "rtn,gptq,3,64,false,",
        "rtn,gptq,4,128,false,",
        "rtn,gptq,8,channel,true,",
        "rtn,gptq_v2,2,64,false,",
        "rtn,gptq_v2,4,64,false,",
        "rtn,gptq_p,5,64,false,",
        "rtn,awq,4,64,false,",
        "rtn,awq,4,channel,true,",
        "rtn,dense,3,64,true,",
        "gptq,compressed-tensors,3,64,true,static",
        "gptq,compressed-tensors,4,32,false,none",
        "gptq,gptq,4,64,true,group",
        "gptq,gptq_v2,3,64,false,group",
        "gptq,gptq,2,32,false,static",
        "gptq,gptq_p,7,64,true,group",
        "gptq,awq,4,32,false,static",
        "gptq,dense,2,32,false,group",
        "gptq,compressed-tensors,8,channel,true,static",
    })
    void everyLayoutAndWidthReadsBack(
            String method, String layout, int bits, String group, boolean symmetric, String order) {
        Map<String, Object> options =
                new LinkedHashMap<>(
                        Map.of("bits", bits, "groupSize", group, "symmetric", symmetric));
        if (order != null) {
            options.put("actOrder", order);
        }
        Path out = temp.resolve("out");
        SweepResult result =
                run(tree(method, options, layout), out, 2, Long.MAX_VALUE, Integer.MAX_VALUE);
        assertThat(result.verifiedTensors()).isPositive();
        if (layout.equals("dense")) {
            assertThat(result.plan().outputBytes()).isEqualTo(result.plan().inputBytes());
        } else {
            assertThat(result.plan().outputBytes()).isLessThan(result.plan().inputBytes());
        }
    }

    @Test
    void gptqBeatsRoundingToNearestOnEveryLayerOfTheBundledModel() {
        SweepResult result =
                run(gptq(Map.of()), temp.resolve("out"), 2, Long.MAX_VALUE, Integer.MAX_VALUE);
        assertThat(result.reports()).hasSize(21);
        assertThat(result.reports())
                .allSatisfy(r ->
                        assertThat((Double) r.values().get("relative_error"))
                                .as(r.module())
                                .isPositive()
                                .isLessThan((Double) r.values().get("rtn_relative_error")));
    }

    @Test
    void aGroupSizeThatDoesNotDivideNamesThoseThatDo() {
        assertThatThrownBy(() ->
                        run(
                                tree("rtn", Map.of("bits", 4, "groupSize", 48), "dense"),
                                temp.resolve("out"),
                                1,
                                Long.MAX_VALUE,
                                0))
                .isInstanceOfSatisfying(
                        UserException.class,
                        e -> {
                            assertThat(e)
                                    .hasMessageContaining(
                                            "group size 48 does not divide the 256 inputs");
                            assertThat(e.hint()).contains("64, 128, 256, channel");
                        });
        assertThat(temp).isEmptyDirectory();
    }
}
