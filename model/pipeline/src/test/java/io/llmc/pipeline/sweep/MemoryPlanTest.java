// SPDX-License-Identifier: Apache-2.0
package io.llmc.pipeline.sweep;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.llmc.backend.Backend;
import io.llmc.backend.BackendOptions;
import io.llmc.backend.cpu.CpuBackend;
import io.llmc.formats.TestFiles;
import io.llmc.formats.UserException;
import io.llmc.formats.checkpoint.Checkpoint;
import io.llmc.formats.checkpoint.Layouts;
import io.llmc.model.arch.Architectures;
import io.llmc.pipeline.pass.BlockPass;
import io.llmc.pipeline.pass.BlockScope;
import io.llmc.pipeline.pass.Targets;
import io.llmc.tokenizer.CalibrationSpec;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.SequencedMap;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;

/// What a sweep promises to take, against what its parts say that they take.
class MemoryPlanTest {
    private static final Path MODEL = TestFiles.testdata().resolve("tale-llama");
    private static final long MIB = 1 << 20;

    private final Backend backend = new CpuBackend(BackendOptions.defaults());
    private final Checkpoint checkpoint = Checkpoint.open(MODEL);

    @AfterEach
    void close() {
        checkpoint.close();
        backend.close();
    }

    /// Takes what the test says, and does nothing.
    private record Hungry(boolean calibrates, long work, long inputs) implements BlockPass {
        @Override
        public String name() {
            return "hungry";
        }

        @Override
        public Targets targets() {
            return Targets.of(List.of(), List.of());
        }

        @Override
        public SequencedMap<String, Object> describe() {
            return new LinkedHashMap<>();
        }

        @Override
        public long workBytes(long out, long in) {
            return work;
        }

        @Override
        public long inputBytes(long in) {
            return inputs;
        }

        @Override
        public void apply(BlockScope scope) {
            throw new IllegalStateException("only planned");
        }
    }

    private MemoryPlan plan(BlockPass pass, int samples, long cap) {
        CalibrationSpec calibration =
                samples == 0
                        ? null
                        : new CalibrationSpec(
                                MODEL.resolve("calibration.txt"),
                                samples,
                                128,
                                CalibrationSpec.Order.FIRST,
                                0);
        OutputPlan output =
                new OutputPlan(
                        checkpoint,
                        Architectures.specOf(checkpoint),
                        new LinkedHashMap<>(),
                        List.of(pass),
                        Layouts.named("dense"));
        return MemoryPlan.of(
                List.of(checkpoint),
                output,
                new SweepStep(List.of(), List.of(pass)),
                calibration,
                backend,
                cap);
    }

    private long bytes(BlockPass pass, int samples) {
        return plan(pass, samples, Long.MAX_VALUE).bytes();
    }

    @Test
    void itGrowsByWhatAPassTakesForALayer() {
        long little = bytes(new Hungry(false, 0, 0), 0);
        // As much as nothing else takes at that moment.
        long one = bytes(new Hungry(false, 100 * MIB, 0), 0);
        long two = bytes(new Hungry(false, 200 * MIB, 0), 0);
        assertThat(one).isGreaterThan(little);
        assertThat(two - one).isEqualTo(100 * MIB);
    }

    /// The inputs of a stage's layers are kept together: of q, k and v once, of gate and up once.
    @Test
    void whatAPassKeepsOfInputsCountsOnceAStage() {
        // As much as unpacked weights take at another moment.
        long little = bytes(new Hungry(true, 0, 100 * MIB), 4);
        long kept = bytes(new Hungry(true, 0, 400 * MIB), 4);
        assertThat(kept - little).isBetween(299 * MIB, 301 * MIB);
    }

    @Test
    void moreWindowsTakeMoreUntilTheyLieOnDisk() {
        BlockPass pass = new Hungry(true, 0, 0);
        long few = bytes(pass, 64);
        long many = bytes(pass, 1024);
        int hidden = Architectures.specOf(checkpoint).hidden();
        assertThat(many - few).isGreaterThanOrEqualTo(960L * 128 * 4 * hidden);
        MemoryPlan onDisk = plan(pass, 1024, many - 1);
        assertThat(onDisk.spills()).isTrue();
        assertThat(onDisk.bytes()).isLessThan(many);
    }

    @Test
    void theLeastThatWorksIsTakenAndAByteLessIsRefused() {
        BlockPass pass = new Hungry(true, 0, 0);
        MemoryPlan least = plan(pass, 1024, bytes(pass, 1024) - 1);
        assertThat(plan(pass, 1024, least.bytes())).isEqualTo(least);
        assertThatThrownBy(() -> plan(pass, 1024, least.bytes() - 1))
                .isInstanceOf(UserException.class);
    }

    @Test
    void aCapThatIsWideEnoughChangesNothing() {
        BlockPass pass = new Hungry(true, 5 * MIB, MIB);
        MemoryPlan free = plan(pass, 16, Long.MAX_VALUE);
        assertThat(free.spills()).isFalse();
        assertThat(plan(pass, 16, free.bytes())).isEqualTo(free);
    }
}
