// SPDX-License-Identifier: Apache-2.0
package io.llmc.quantize;

import static org.assertj.core.api.Assertions.assertThat;

import io.llmc.backend.Backend;
import io.llmc.backend.BackendOptions;
import io.llmc.backend.Desk;
import io.llmc.backend.TensorArena;
import io.llmc.backend.cpu.CpuBackend;
import io.llmc.formats.GridSpec;
import io.llmc.tensor.Codes;
import io.llmc.tensor.DType;
import io.llmc.tensor.Encoding;
import io.llmc.tensor.Floats;
import io.llmc.tensor.Tensor;
import io.llmc.tensor.Tiles;
import io.llmc.tensor.Weight;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.Random;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class FloatMathTest {
    private static final int OUT = 6;
    private static final int IN = 20;

    /// Every tile's largest magnitude is the largest number, or as near as its scale's type allows,
    /// and no weight moves by more than half a step of four significant bits.
    @ParameterizedTest
    @CsvSource({"1,-1", "-1,-1", "4,8"})
    void theLargestOfATileIsTheLargestNumber(int rows, int cols) {
        Tiles tiles = new Tiles(rows, cols);
        Random random = new Random(3);
        try (Arena memory = Arena.ofConfined();
                Backend backend = new CpuBackend(BackendOptions.defaults());
                TensorArena arena = backend.newArena(1 << 16)) {
            MemorySegment values = memory.allocate(4L * OUT * IN, 64);
            for (int i = 0; i < OUT * IN; i++) {
                float x = i / IN == 2 ? 0 : (float) random.nextGaussian();
                values.setAtIndex(ValueLayout.JAVA_FLOAT, i, x);
            }
            FloatMath.Result result =
                    FloatMath.quantize(
                            new Desk(backend, arena),
                            new Weight.Dense(Tensor.of(values, DType.F32, OUT, IN)),
                            new GridSpec<>(
                                    new Encoding.Grid<>(Codes.Floats.E4M3, tiles), DType.BF16, 0));
            Weight.Scaled w = result.weight();
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
}
