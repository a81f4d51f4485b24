// SPDX-License-Identifier: Apache-2.0
package io.llmc.formats.gptq;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.llmc.formats.BitStream;
import io.llmc.formats.Dequantizer;
import io.llmc.formats.GridSpec;
import io.llmc.formats.LayerPlan;
import io.llmc.formats.UserException;
import io.llmc.formats.checkpoint.Layouts;
import io.llmc.formats.checkpoint.WeightLayout;
import io.llmc.tensor.Codes;
import io.llmc.tensor.DType;
import io.llmc.tensor.Encoding;
import io.llmc.tensor.Tensor;
import java.lang.foreign.Arena;
import java.util.List;
import java.util.Random;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

/// Codes lie in planes as GPTQModel's docs/gptq_planar.md describes them.
class PlanesTest {
    /// @param planes widths, the low one first
    @ParameterizedTest
    @CsvSource({"2,2", "3,2 1", "4,4", "5,4 1", "6,4 2", "7,4 2 1", "8,8"})
    void everyPlaneTakesWholeWordsOfItsOwn(int bits, String planes) {
        try (Arena memory = Arena.ofConfined()) {
            Random random = new Random(bits);
            int[] codes = random.ints(2 * 96, 0, 1 << bits).toArray();
            Tensor stream = Dequantizer.allocate(memory, DType.I32, 2, 3 * bits);
            int[] expected = new int[2 * 3 * bits];
            for (int i = 0; i < codes.length; i++) {
                BitStream.put(stream.bytes(), i / 96 * 3 * bits, 1, i % 96, bits, codes[i]);
                int word = i / 32 * bits;
                int rest = codes[i];
                for (String plane : planes.split(" ", -1)) {
                    int width = Integer.parseInt(plane);
                    int part = rest & (1 << width) - 1;
                    int bit = i % 32 * width;
                    expected[word + bit / 32] |= part << bit % 32;
                    rest >>>= width;
                    word += width;
                }
            }
            Tensor stored = Planes.planes(stream, bits, memory);
            for (int i = 0; i < expected.length; i++) {
                assertThat(stored.bytes().getAtIndex(BitStream.WORD, i)).isEqualTo(expected[i]);
            }
            assertThat(Planes.stream(stored, bits, memory).bytes().mismatch(stream.bytes()))
                    .isEqualTo(-1);
        }
    }

    @ParameterizedTest
    @ValueSource(ints = {5, 6, 7})
    void streamsOfTheseWidthsAreRefusedInThePlan(int bits) {
        for (String name : List.of("gptq", "gptq_v2")) {
            WeightLayout layout = Layouts.named(name);
            GridSpec<Codes.Ints> grid = layout.grid(Encoding.ints(bits, 32, true), DType.F16);
            assertThatThrownBy(() -> layout.plan(LayerPlan.of("up", 64, 64, grid)))
                    .isInstanceOf(UserException.class)
                    .hasMessage("'up' is to have %d bits, for which %s has no form", bits, name);
        }
    }

    @Test
    void planesWantWholeBlocks() {
        WeightLayout layout = Layouts.named("gptq_p");
        GridSpec<Codes.Ints> grid = layout.grid(Encoding.ints(4, 16, true), DType.F16);
        assertThatThrownBy(() -> layout.plan(LayerPlan.of("up", 64, 48, grid)))
                .hasMessageContaining("needs multiples of 32");
    }
}
