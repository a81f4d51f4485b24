// SPDX-License-Identifier: Apache-2.0
package io.llmc.quantize;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import io.llmc.backend.Backend;
import io.llmc.backend.BackendOptions;
import io.llmc.backend.Desk;
import io.llmc.backend.TensorArena;
import io.llmc.backend.cpu.CpuBackend;
import io.llmc.formats.Dequantizer;
import io.llmc.formats.GridSpec;
import io.llmc.formats.TestFiles;
import io.llmc.formats.checkpoint.Checkpoint;
import io.llmc.formats.checkpoint.TensorReader;
import io.llmc.tensor.Codes;
import io.llmc.tensor.DType;
import io.llmc.tensor.Encoding;
import io.llmc.tensor.Floats;
import io.llmc.tensor.ScaleKind;
import io.llmc.tensor.Tensor;
import io.llmc.tensor.Tiles;
import io.llmc.tensor.Weight;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Random;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class FloatGridTest {
    private static final int OUT = 6;
    private static final int IN = 20;

    /// Every tile's largest magnitude is the largest number, or as near as its scale's type allows,
    /// and no weight moves by more than half a step of four significant bits.
    @ParameterizedTest
    @CsvSource({"1,-1", "-1,-1", "4,8"})
    void theLargestOfATileIsTheLargestNumber(int rows, int cols) {
        Tiles tiles = new Tiles(rows, cols);
        Random random = new Random(3);
        try (Arena memory = Arena.ofShared();
                Backend backend = new CpuBackend(BackendOptions.defaults());
                TensorArena arena = backend.newArena(1 << 16)) {
            MemorySegment values = memory.allocate(4L * OUT * IN, 64);
            for (int i = 0; i < OUT * IN; i++) {
                float x = i / IN == 2 ? 0 : (float) random.nextGaussian();
                values.setAtIndex(ValueLayout.JAVA_FLOAT, i, x);
            }
            RtnMath.Result result =
                    quantize(
                            new Desk(backend, arena),
                            Tensor.of(values, DType.F32, OUT, IN),
                            new Encoding.Grid<>(Codes.Floats.E4M3, tiles),
                            null);
            Weight.Scaled w = (Weight.Scaled) result.weight();
            assertThat(w.scales().is(tiles.down(OUT), tiles.across(IN))).isTrue();
            assertThat(result.error()).isPositive().isLessThan(0.001);
            for (int i = 0; i < OUT * IN; i++) {
                long tile =
                        i / IN / tiles.height(OUT) * tiles.across(IN) + i % IN / tiles.width(IN);
                float scale = Floats.get(w.scales().bytes(), DType.BF16, tile);
                float x = values.getAtIndex(ValueLayout.JAVA_FLOAT, i);
                float got =
                        scale
                                * Codes.Floats.E4M3.value(
                                        w.codes().bytes().get(ValueLayout.JAVA_BYTE, i));
                float step = Math.max(Math.abs(x) / 16, scale * 0x1p-10f);
                assertThat(Math.abs(got - x)).as("weight %d", i).isLessThanOrEqualTo(step * 1.001f);
                assertThat(Math.abs(x) / scale).isLessThan(448 * 1.01f);
            }
        }
    }

    private static RtnMath.Result quantize(
            Desk d, Tensor values, Encoding.Grid<Codes.Floats> grid, Tensor global) {
        Weight dense = new Weight.Dense(values);
        var target = new GridSpec<>(grid, DType.BF16, 0);
        return RtnMath.quantize(
                d, dense, WeightGrid.allocate(d, target, dense, global), null, null, false);
    }

    /// What a library has rounded, rounded again, is what it was: codes, scales and all, where its
    /// scales follow the rule of this one.
    @ParameterizedTest
    @CsvSource({"nvfp4a16_bf16,F4,16,NESTED", "mxfp4a16_bf16,F4,32,POWER"})
    void whatALibraryRoundedStays(String name, DType type, int group, ScaleKind kind)
            throws IOException {
        Path file =
                TestFiles.shared("oracles/formats/compressed-tensors")
                        .resolve(name)
                        .resolve("model.safetensors");
        assumeTrue(Files.exists(file), "no oracles beside the checkout");
        var grid = new Encoding.Grid<>(new Codes.Floats(type), Tiles.groups(group), kind);
        String layer = "model.layers.1.mlp.down_proj.weight";
        try (Checkpoint c = Checkpoint.ofFile(file);
                TensorReader reader = c.reader();
                Arena memory = Arena.ofShared();
                Backend backend = new CpuBackend(BackendOptions.defaults());
                TensorArena arena = backend.newArena(1 << 20)) {
            Desk d = new Desk(backend, arena);
            Tensor codes = reader.tensor(layer + "_packed");
            Tensor scales = reader.tensor(layer + "_scale");
            Tensor global =
                    kind == ScaleKind.NESTED ? reader.tensor(layer + "_global_scale") : null;
            var given = new Weight.Scaled(grid, codes, scales, global);
            Tensor values = Dequantizer.values(given, DType.BF16, memory);
            Weight.Scaled got = (Weight.Scaled) quantize(d, values, grid, global).weight();
            assertThat(got.scales().bytes().mismatch(scales.bytes())).isEqualTo(-1);
            Tensor again = Dequantizer.values(got, DType.BF16, memory);
            assertThat(again.bytes().mismatch(values.bytes())).isEqualTo(-1);
        }
    }
}
