// SPDX-License-Identifier: Apache-2.0
package io.llmc.gpu;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import io.llmc.backend.Backend;
import io.llmc.backend.BackendGroup;
import io.llmc.backend.BackendOptions;
import io.llmc.backend.Desk;
import io.llmc.backend.ForwardOp;
import io.llmc.backend.TensorArena;
import io.llmc.formats.checkpoint.Checkpoint;
import io.llmc.formats.checkpoint.TensorReader;
import io.llmc.gpu.driver.Natives;
import io.llmc.model.DecoderBlock;
import io.llmc.model.Linear;
import io.llmc.model.Stage;
import io.llmc.model.arch.Architectures;
import io.llmc.model.language.LanguageModel;
import io.llmc.pipeline.pass.HiddenStates;
import io.llmc.pipeline.pass.LayerInput;
import io.llmc.pipeline.pass.Observer;
import io.llmc.pipeline.pass.SumTree;
import io.llmc.solver.Gram;
import io.llmc.tensor.Tensor;
import io.llmc.tensor.Weight;
import io.llmc.tokenizer.Windows;
import java.lang.foreign.MemorySegment;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/// Sequences that go through two devices, chunk by chunk, against one.
@Tag("long")
class TwoDevicesTest {
    private static final int LENGTH = 32;
    private static final int WINDOWS = 2 * 2048 / LENGTH + 3; // three chunks, the last one short

    @TempDir private Path dir;

    @BeforeAll
    static void standIn() {
        var problem = StandIn.install();
        assumeTrue(problem.isEmpty(), problem.orElse(""));
        assertThat(Natives.driverProblem()).isEmpty();
    }

    @AfterEach
    void restore() {
        StandIn.set("devices", "");
    }

    @Test
    @SuppressWarnings("MustBeClosed") // the group closes its members
    void sumsAndSequencesHaveTheSameBytes() throws Exception {
        StandIn.set("devices", "2");
        var options = new BackendOptions(1, BackendOptions.Math.PORTABLE);
        List<byte[]> one;
        List<byte[]> two;
        try (Backend backend = new CudaBackend(0, options)) {
            one = run(backend);
        }
        try (Backend group =
                new BackendGroup(
                        List.of(new CudaBackend(0, options), new CudaBackend(1, options)))) {
            two = run(group);
            assertThat(StandIn.count("launches on 1")).isPositive();
        }
        assertThat(two).hasSameSizeAs(one);
        for (int i = 0; i < one.size(); i++) {
            assertThat(two.get(i)).as("result " + i).isEqualTo(one.get(i));
        }
    }

    /// A Gram matrix of every layer's inputs, with the first block's weights halved on the way, and
    /// the sequences behind the last block.
    private List<byte[]> run(Backend backend) throws Exception {
        List<byte[]> results = new ArrayList<>();
        int[] ids = new int[WINDOWS * LENGTH];
        for (int i = 0; i < ids.length; i++) {
            ids[i] = (i * 31 + i / 7) % 256;
        }
        Path folder = StandIn.module().resolveSibling("testdata/tiny-llama");
        try (Checkpoint checkpoint = Checkpoint.open(folder);
                LanguageModel model =
                        new LanguageModel(checkpoint, Architectures.specOf(checkpoint), backend);
                HiddenStates states = new HiddenStates(model, Windows.of(ids, LENGTH), null)) {
            states.embed();
            for (int b = 0; b < model.spec().layers().size(); b++) {
                try (TensorReader reader = checkpoint.reader();
                        TensorArena arena = model.newBlockArena(b)) {
                    DecoderBlock block = model.block(b, reader, arena);
                    states.prepare(block);
                    for (Stage stage : block.stages()) {
                        results.addAll(grams(backend, states, stage));
                        halve(backend, stage, arena);
                        states.advance(stage);
                    }
                }
            }
            Path file = dir.resolve("states-" + backend.group().size());
            states.saveTo(file);
            results.add(Files.readAllBytes(file));
        }
        return results;
    }

    private record GramOf(Linear first, Gram gram) implements Observer<LayerInput, Gram.Sum> {
        @Override
        public long bytes() {
            return gram.bytes();
        }

        @Override
        public Gram.Sum empty(Desk d) {
            return gram.empty(d);
        }

        @Override
        public Gram.Sum see(Gram.Sum s, LayerInput input) {
            return input.layers().getFirst().equals(first) ? gram.see(s, input.x()) : s;
        }

        @Override
        public Gram.Sum merge(Gram.Sum a, Gram.Sum b) {
            return gram.merge(a, b);
        }
    }

    private static List<byte[]> grams(Backend backend, HiddenStates states, Stage stage) {
        List<byte[]> results = new ArrayList<>();
        for (List<Linear> group : stage.groups()) {
            int in = (int) group.getFirst().weight().inFeatures();
            var observer = new GramOf(group.getFirst(), new Gram(in));
            try (SumTree<LayerInput, Gram.Sum> sums = states.observe(stage, observer)) {
                Tensor h = sums.total().h();
                MemorySegment bytes = StandIn.bytes(h.byteSize());
                backend.download(bytes, h);
                results.add(bytes.toArray(java.lang.foreign.ValueLayout.JAVA_BYTE));
            }
        }
        return results;
    }

    private static void halve(Backend backend, Stage stage, TensorArena arena) {
        for (Linear linear : stage.linears()) {
            Tensor w = ((Weight.Dense) linear.weight()).values();
            Tensor half = arena.allocate(w.dtype(), w.shape());
            backend.run(new ForwardOp.Scale(half, w, 0.5f));
            linear.replace(new Weight.Dense(half));
        }
    }
}
