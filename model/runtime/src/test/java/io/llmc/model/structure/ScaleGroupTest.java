// SPDX-License-Identifier: Apache-2.0
package io.llmc.model.structure;

import static org.assertj.core.api.Assertions.assertThat;

import io.llmc.backend.Backend;
import io.llmc.backend.BackendOptions;
import io.llmc.backend.Desk;
import io.llmc.backend.ForwardOp;
import io.llmc.backend.TensorArena;
import io.llmc.backend.cpu.CpuBackend;
import io.llmc.formats.TestFiles;
import io.llmc.formats.checkpoint.Checkpoint;
import io.llmc.formats.checkpoint.TensorReader;
import io.llmc.model.DecoderBlock;
import io.llmc.model.Forward;
import io.llmc.model.LayerSpec;
import io.llmc.model.Linear;
import io.llmc.model.ModelSpec;
import io.llmc.model.Parameters;
import io.llmc.model.Positions;
import io.llmc.model.arch.Architectures;
import io.llmc.model.language.LanguageModel;
import io.llmc.model.language.Replacement;
import io.llmc.model.language.StoredParameters;
import io.llmc.tensor.DType;
import io.llmc.tensor.Tensor;
import io.llmc.tensor.Weight;
import java.nio.file.Path;
import java.util.List;
import java.util.Random;
import java.util.stream.Stream;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/// Scaling channels of random blocks by random factors changes no result but by rounding, and does
/// change what lies between.
class ScaleGroupTest {
    private static final int TOKENS = 12;

    static Stream<Path> checkpoints() {
        return TestFiles.directories(TestFiles.testdata(), "tiny-");
    }

    @ParameterizedTest
    @MethodSource("checkpoints")
    void scaledChannelsComputeTheSame(Path directory) {
        try (Checkpoint c = Checkpoint.open(directory);
                TensorReader reader = c.reader();
                Backend backend = new CpuBackend(BackendOptions.defaults());
                TensorArena arena = backend.newArena(1L << 26)) {
            ModelSpec spec = Architectures.specOf(c);
            LayerSpec layer = spec.layers().getFirst();
            Desk desk = new Desk(backend, arena);
            Parameters stored = new StoredParameters(reader, backend, arena, spec.inOutLinears());
            DecoderBlock original = LanguageModel.block(layer, spec.hidden(), stored);
            Replacement wide = inF32(original, directory, desk);
            DecoderBlock before = LanguageModel.block(layer, spec.hidden(), wide);
            Replacement scaled = new Replacement(before, directory);
            Random random = new Random(7);
            for (ScaleGroup group : layer.scaleGroups()) {
                scaled.rescale(group, factors(random, channels(group, spec.hidden())), desk);
            }
            DecoderBlock after = LanguageModel.block(layer, spec.hidden(), scaled);
            List<String> readers =
                    layer.scaleGroups().stream().flatMap(g -> g.readers().stream()).toList();
            assertThat(readers).hasSizeGreaterThanOrEqualTo(before.linears().size() / 2);
            for (int i = 0; i < before.linears().size(); i++) {
                if (!readers.contains(before.linears().get(i).name())) {
                    continue;
                }
                assertThat(values(after.linears().get(i), backend))
                        .as(before.linears().get(i).name())
                        .isNotEqualTo(values(before.linears().get(i), backend));
            }
            float[] want = forward(before, spec, desk);
            float[] got = forward(after, spec, desk);
            for (int i = 0; i < want.length; i++) {
                assertThat((double) got[i]).isCloseTo(want[i], offset(5e-5));
            }
        }
    }

    private static org.assertj.core.data.Offset<Double> offset(double bound) {
        return org.assertj.core.data.Offset.offset(bound);
    }

    private static int channels(ScaleGroup group, int hidden) {
        return group.source() instanceof ScaleGroup.Rows rows
                ? rows.parts() * rows.rows().width()
                : hidden;
    }

    private static float[] factors(Random random, int count) {
        float[] factors = new float[count];
        for (int i = 0; i < count; i++) {
            factors[i] = (float) Math.exp(random.nextGaussian());
        }
        return factors;
    }

    private static float[] values(Linear linear, Backend backend) {
        return backend.floats(((Weight.Dense) linear.weight()).values());
    }

    private static Replacement inF32(DecoderBlock block, Path place, Desk desk) {
        Replacement wide = new Replacement(block, place);
        for (Linear linear : block.linears()) {
            Tensor values = ((Weight.Dense) linear.weight()).values();
            wide.put(linear.name(), new Weight.Dense(inF32(values, desk)));
        }
        block.parameters().forEach((name, values) -> wide.put(name, inF32(values, desk)));
        return wide;
    }

    private static Tensor inF32(Tensor t, Desk desk) {
        Tensor wide = desk.arena().allocate(DType.F32, t.shape());
        desk.run(new ForwardOp.Scale(wide, t, 1));
        return wide;
    }

    private static float[] forward(DecoderBlock block, ModelSpec spec, Desk desk) {
        Random random = new Random(3);
        float[] x = new float[TOKENS * spec.hidden()];
        for (int i = 0; i < x.length; i++) {
            x[i] = (float) random.nextGaussian();
        }
        Positions positions = Positions.of(spec, TOKENS, desk.backend(), desk.arena());
        Forward f = new Forward(desk.backend(), desk.arena(), positions);
        Tensor in = desk.floats(x).reshape(TOKENS, spec.hidden());
        return desk.backend().floats(block.forward(f, in));
    }
}
