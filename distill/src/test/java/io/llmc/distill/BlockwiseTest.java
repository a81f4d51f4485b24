// SPDX-License-Identifier: Apache-2.0
package io.llmc.distill;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.llmc.backend.Backend;
import io.llmc.backend.BackendOptions;
import io.llmc.backend.cpu.CpuBackend;
import io.llmc.distill.spec.DistillSpec;
import io.llmc.distill.spec.LayerMap;
import io.llmc.formats.TestFiles;
import io.llmc.formats.UserException;
import io.llmc.formats.checkpoint.Checkpoint;
import io.llmc.formats.checkpoint.TensorReader;
import io.llmc.pipeline.Options;
import io.llmc.pipeline.Step;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/// Blocks that learn one by one what the teacher's blocks give.
@Tag("long")
class BlockwiseTest {
    private static final Path TEACHER = TestFiles.testdata().resolve("tale-llama");

    @TempDir static Path shared;
    private static Path student;
    private static Map<String, String> undisturbed;

    @TempDir Path temp;

    @BeforeAll
    static void runUndisturbed() throws Exception {
        student = shared.resolve("student");
        Runs.disturb(TEACHER, student);
        Path out = shared.resolve("out");
        Step.Written result = run(Map.of(), out, 2, Integer.MAX_VALUE, Long.MAX_VALUE);
        undisturbed = Runs.hashes(out);
        double before = (double) result.values().get("held_out_error_before");
        assertThat((double) result.values().get("held_out_error")).isLessThan(0.95 * before);
    }

    private static Step.Written run(
            Map<String, Object> more, Path out, int threads, int stepsBeforeDeath, long memory) {
        Map<String, Object> options = new LinkedHashMap<>(Map.of("blockwise", true, "steps", 6));
        options.putAll(more);
        return Runs.run(student, TEACHER, options, out, threads, stepsBeforeDeath, memory);
    }

    @Test
    void threadsDoNotChangeABit() throws Exception {
        Path out = temp.resolve("out");
        run(Map.of(), out, 3, Integer.MAX_VALUE, Long.MAX_VALUE);
        assertThat(Runs.hashes(out)).isEqualTo(undisturbed);
    }

    @Test
    void statesOnDiskGiveTheSameBytes() throws Exception {
        Map<String, Object> many = Map.of("accumulate", 8);
        BlockwiseMemory tight = spilling(8);
        assertThat(tight.spills()).isTrue();
        Path free = temp.resolve("free");
        run(many, free, 2, Integer.MAX_VALUE, Long.MAX_VALUE);
        Path out = temp.resolve("out");
        run(many, out, 2, Integer.MAX_VALUE, tight.bytes());
        assertThat(Runs.hashes(out)).isEqualTo(Runs.hashes(free));
    }

    /// Where everything in memory is a byte too much.
    private static BlockwiseMemory spilling(int accumulate) {
        Map<String, Object> options = new LinkedHashMap<>();
        options.put("teacher", "unused");
        options.put("data", "unused");
        options.put("blockwise", true);
        options.put("steps", 6);
        options.put("accumulate", accumulate);
        options.put("batch", 2);
        options.put("length", 64);
        options.put("holdout", 4);
        DistillSpec spec = DistillSpec.read(Options.of(options));
        try (Backend backend = new CpuBackend(new BackendOptions(2, BackendOptions.Math.AUTO));
                Checkpoint own = Checkpoint.open(student);
                Checkpoint other = Checkpoint.open(TEACHER)) {
            long free = BlockwiseMemory.of(own, other, spec, backend, Long.MAX_VALUE).bytes();
            return BlockwiseMemory.of(own, other, spec, backend, free - 1);
        }
    }

    /// In the first block, at its end, in the last.
    @ParameterizedTest
    @ValueSource(ints = {5, 6, 17})
    void aKilledRunEndsInTheSameBytes(int steps) throws Exception {
        Path out = temp.resolve("out");
        assertThatThrownBy(() -> run(Map.of(), out, 2, steps, Long.MAX_VALUE))
                .isInstanceOf(Runs.Killed.class);
        assertThat(out).doesNotExist();
        run(Map.of(), out, 2, Integer.MAX_VALUE, Long.MAX_VALUE);
        assertThat(Runs.hashes(out)).isEqualTo(undisturbed);
    }

    @Test
    void aBlockThatGotWorseStaysAsItWas() throws Exception {
        Path out = temp.resolve("out");
        run(Map.of("lr", 0.5, "clip", 0), out, 2, Integer.MAX_VALUE, Long.MAX_VALUE);
        assertThat(Files.readString(out.resolve("train-log.jsonl")))
                .contains("\"kept\":false")
                .doesNotContain("\"kept\":true");
        assertSame(student, out);
    }

    private static void assertSame(Path one, Path other) {
        try (Checkpoint a = Checkpoint.open(one);
                Checkpoint b = Checkpoint.open(other);
                TensorReader before = a.reader();
                TensorReader after = b.reader()) {
            for (String name : a.names()) {
                assertThat(before.tensor(name).bytes().mismatch(after.tensor(name).bytes()))
                        .as(name)
                        .isNegative();
            }
        }
    }

    @Test
    void droppedBlocksAreFoundByTheirNeighboursNorms() throws IOException {
        try (Checkpoint teacher = Checkpoint.open(TEACHER)) {
            LayerMap found = map(teacher, List.of(0, 2), List.of());
            assertThat(found.counterparts()).containsExactly(0, 2);
            assertThat(found.target(0)).isEqualTo(1);
            assertThat(found.target(1)).isEqualTo(2);
            assertThat(map(teacher, List.of(1), List.of()).counterparts()).containsExactly(1);
            assertThat(map(teacher, List.of(0, 2), List.of(0, 1)).target(0)).isZero();
            assertThatThrownBy(() -> map(teacher, List.of(0, 2), List.of(1, 0)))
                    .isInstanceOf(UserException.class)
                    .hasMessageContaining("no rising list of 2 blocks between 0 and 2");
            assertThatThrownBy(() -> map(teacher, List.of(0, 2), List.of(0, 3)))
                    .isInstanceOf(UserException.class);
        }
    }

    /// The map of a student that has some of the teacher's blocks.
    private static LayerMap map(Checkpoint teacher, List<Integer> blocks, List<Integer> explicit) {
        var infos = new LinkedHashMap<String, io.llmc.formats.TensorInfo>();
        var sources = new LinkedHashMap<String, String>();
        for (String name : teacher.names()) {
            infos.put(name, teacher.info(name));
            sources.put(name, name);
        }
        for (int i = 0; i < blocks.size(); i++) {
            String from = "model.layers." + blocks.get(i) + ".";
            for (String name : teacher.names()) {
                if (name.startsWith(from)) {
                    sources.put("model.layers." + i + "." + name.substring(from.length()), name);
                }
            }
        }
        Checkpoint student =
                teacher.derived(
                        teacher.config().with("num_hidden_layers", blocks.size()),
                        infos,
                        (name, base, _) -> base.tensor(sources.get(name)));
        return LayerMap.of(student, teacher, explicit);
    }

    @Test
    void otherWidthsAreRefused() {
        assertThatThrownBy(() ->
                        Runs.run(
                                TestFiles.testdata().resolve("tiny-llama"),
                                TEACHER,
                                Map.of("blockwise", true, "map", List.of(0)),
                                temp.resolve("out"),
                                2,
                                Integer.MAX_VALUE,
                                Long.MAX_VALUE))
                .isInstanceOf(UserException.class);
        assertThat(temp.resolve("out")).doesNotExist();
    }
}
