// SPDX-License-Identifier: Apache-2.0
package io.llmc.pipeline;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.llmc.backend.Backend;
import io.llmc.backend.BackendOptions;
import io.llmc.backend.cpu.CpuBackend;
import io.llmc.formats.TestFiles;
import io.llmc.formats.UserException;
import io.llmc.formats.checkpoint.Checkpoint;
import io.llmc.formats.checkpoint.TensorReader;
import io.llmc.pipeline.sweep.SweepResult;
import io.llmc.tensor.DType;
import io.llmc.tensor.Floats;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.SequencedMap;
import java.util.stream.Stream;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/// Sweeps and their recipes, without a command line.
class RecipeRunTest {
    private static final Path MODEL = TestFiles.testdata().resolve("tale-llama");
    private static final String GATE = "model.layers.0.mlp.gate_proj";

    @TempDir private Path dir;

    private final List<String> heard = new ArrayList<>();
    private final Backend backend = new CpuBackend(BackendOptions.defaults());

    @AfterEach
    void close() {
        backend.close();
    }

    private RecipeRun recipe(boolean force, List<Map<String, Object>> steps) {
        return recipe(force, steps, Halving.steps(heard));
    }

    private RecipeRun recipe(
            boolean force, List<Map<String, Object>> steps, List<Step.Factory> known) {
        SequencedMap<String, Object> tree = new LinkedHashMap<>();
        tree.put("model", MODEL.toString());
        tree.put("output", dir.resolve("out").toString());
        tree.put("steps", steps);
        if (steps.toString().contains("watch")) {
            String text = MODEL.resolve(Halving.TEXT).toString();
            tree.put("calibration", Map.of("data", text, "samples", 2, "length", 16));
        }
        tree.put("save", Map.of("layout", "dense"));
        Recipe recipe = Recipe.read(Options.of(tree), known, tree);
        return new RecipeRun(recipe, Inputs.of(recipe), "test", force);
    }

    private List<Step.Outcome> run(RecipeRun run, Progress progress) {
        List<Step.Outcome> all = new ArrayList<>();
        run.run(backend, Long.MAX_VALUE, progress, result -> all.addAll(result.outcomes()));
        return all;
    }

    private static Map<String, Object> halve(String targets) {
        return Map.of("halve", Map.of("targets", targets));
    }

    private float ratio(Path model, String linear) {
        try (Checkpoint c = Checkpoint.open(model);
                Checkpoint original = Checkpoint.open(MODEL);
                TensorReader now = c.reader();
                TensorReader before = original.reader()) {
            return first(now, linear) / first(before, linear);
        }
    }

    private static float first(TensorReader reader, String linear) {
        var tensor = reader.tensor(linear + ".weight");
        DType type = tensor.dtype();
        return Floats.get(tensor.bytes(), type, 0);
    }

    private List<String> files() throws IOException {
        try (Stream<Path> files = Files.list(dir)) {
            return files.map(f -> f.getFileName().toString()).sorted().toList();
        }
    }

    @Test
    void everyMethodWorksOnABlockBeforeTheNextBlockIsRead() {
        Map<String, Object> sweep =
                Halving.sweep(halve("*gate_proj"), Map.of("watch", Map.of("targets", "*up_proj")));
        run(recipe(false, List.of(sweep)), Progress.NONE);
        assertThat(heard.subList(0, 4)).containsExactly("halve 0", "watch 0", "halve 1", "watch 1");
        assertThat(ratio(dir.resolve("out"), GATE)).isEqualTo(0.5f);
        assertThat(ratio(dir.resolve("out"), GATE.replace("gate", "up"))).isEqualTo(0.5f);
        assertThat(ratio(dir.resolve("out"), GATE.replace("gate", "down"))).isEqualTo(1);
    }

    @Test
    void whatIsPlannedIsWhatIsWritten() throws IOException {
        RecipeRun run = recipe(false, List.of(Halving.sweep(halve("*gate_proj"))));
        RecipeRun.Preview preview = run.preview(backend, Long.MAX_VALUE, Progress.NONE);
        assertThat(files()).isEmpty();
        SweepResult result = (SweepResult) run(run, Progress.NONE).getFirst();
        SweepPlan plan = preview.sweep().orElseThrow();
        assertThat(plan).isEqualTo(result.plan());
        assertThat(preview.needs().getFirst().bytes()).hasValue(plan.peakBytes());
        try (Checkpoint written = Checkpoint.open(dir.resolve("out"))) {
            assertThat(plan.tensors().stream().map(t -> t.name()))
                    .containsExactlyInAnyOrderElementsOf(written.names());
            assertThat(plan.outputBytes())
                    .isEqualTo(
                            written.names().stream()
                                    .mapToLong(n -> written.info(n).byteSize())
                                    .sum());
        }
    }

    @Test
    void eachStepReadsWhatTheOneBeforeItWroteAndOnlyTheLastOutputStays() throws IOException {
        Map<String, Object> sweep = Halving.sweep(halve("*gate_proj"));
        assertThat(run(recipe(false, List.of(sweep, sweep)), Progress.NONE)).hasSize(2);
        assertThat(ratio(dir.resolve("out"), GATE)).isEqualTo(0.25f);
        assertThat(files()).containsExactly("out");
    }

    private static final class Died extends RuntimeException {}

    /// Dies at the end of so many tasks of blocks.
    private static Progress dyingAfter(int blocks) {
        return new Progress() {
            private int left = blocks;

            @Override
            public void begin(String task, long total) {}

            @Override
            public void advance(long by, String detail) {
                if (detail.startsWith("model.layers.") && --left == 0) {
                    throw new Died();
                }
            }

            @Override
            public void end() {}

            @Override
            public void note(String line) {}
        };
    }

    @Test
    void aRunThatDiedGoesOnBehindWhatItHadFinished() {
        int layers = layers();
        Map<String, Object> sweep = Halving.sweep(Map.of("watch", Map.of("targets", "*gate_proj")));
        RecipeRun run = recipe(false, List.of(sweep, sweep));
        assertThatThrownBy(() -> run(run, dyingAfter(layers + 1))).isInstanceOf(Died.class);
        assertThat(heard).hasSize(layers + 1);
        heard.clear();
        List<Step.Outcome> outcomes = run(run, Progress.NONE);
        assertThat(outcomes).hasSize(1); // the first was done
        assertThat(((SweepResult) outcomes.getFirst()).resumedBlocks()).isEqualTo(1);
        assertThat(heard.getFirst()).isEqualTo("watch 1");
        assertThat(ratio(dir.resolve("out"), GATE)).isEqualTo(0.25f);
    }

    private static int layers() {
        try (Checkpoint c = Checkpoint.open(MODEL)) {
            return io.llmc.model.arch.Architectures.specOf(c).layers().size();
        }
    }

    @Test
    void whatIsThereIsOnlyReplacedByForce() {
        RecipeRun careful = recipe(false, List.of(Halving.sweep(halve("*gate_proj"))));
        run(careful, Progress.NONE);
        assertThatThrownBy(() -> run(careful, Progress.NONE))
                .isInstanceOf(UserException.class)
                .hasMessageContaining("exists and is not empty");
        RecipeRun forced = recipe(true, List.of(Halving.sweep(halve("*up_proj"))));
        run(forced, Progress.NONE);
        assertThat(ratio(dir.resolve("out"), GATE)).isEqualTo(1);
    }

    /// A step that writes nothing: it remembers where it was.
    private record Look(List<String> heard) implements Step {
        @Override
        public String name() {
            return "look";
        }

        @Override
        public boolean writes() {
            return false;
        }

        @Override
        public void check(Context context) {}

        @Override
        public Plan plan(Context context) {
            return Plan.of(
                    1,
                    () -> {
                        heard.add("look at " + context.model().getFileName());
                        return LinkedHashMap::new;
                    });
        }
    }

    @Test
    void aStepThatWritesNothingSeesTheModelOfItsPlace() {
        List<Step.Factory> known = new ArrayList<>(Halving.steps(heard));
        known.add(
                new Step.Factory(
                        "look",
                        "",
                        "",
                        List.of(),
                        o -> {
                            o.section("look");
                            return new Look(heard);
                        }));
        Map<String, Object> look = Map.of("look", Map.of());
        Map<String, Object> sweep = Halving.sweep(halve("*gate_proj"));
        RecipeRun run = recipe(false, List.of(look, sweep, look), known);
        heard.clear();
        assertThat(run(run, Progress.NONE)).hasSize(3);
        assertThat(heard).startsWith("look at tale-llama").endsWith("look at out");
    }

    @Test
    void tooLittleMemoryIsSaidBeforeAnyWork() throws IOException {
        RecipeRun run = recipe(false, List.of(Halving.sweep(halve("*gate_proj"))));
        assertThatThrownBy(() -> run.run(backend, 1 << 20, Progress.NONE, _ -> {}))
                .isInstanceOf(UserException.class)
                .hasMessageContaining("is too little");
        assertThat(files()).isEmpty();
        assertThat(heard).isEmpty();
    }
}
