// SPDX-License-Identifier: Apache-2.0
package io.llmc.pipeline;

import static org.assertj.core.api.Assertions.assertThatCode;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.llmc.formats.UserException;
import io.llmc.tensor.DType;
import io.llmc.tensor.Tensor;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class FiniteTest {
    /// Bits of a bad value, and of a good one that looks most like it.
    @ParameterizedTest
    @CsvSource({
        "F32,7f800000,7f7fffff",
        "F32,ffc00001,ff7fffff",
        "BF16,7f80,7f7f",
        "BF16,ff81,ff7f",
        "F16,7c00,7bff",
        "F16,fe00,fbff",
    })
    void theFirstBadElementIsNamed(DType dtype, String bad, String good) {
        int bytes = dtype.bytes();
        for (int size : new int[] {1, 3, 4, 7, 33}) {
            for (int at = 0; at < size; at++) {
                MemorySegment s = Arena.ofAuto().allocate((long) size * bytes, 8);
                for (int i = 0; i < size; i++) {
                    put(s, bytes, i, good);
                }
                Tensor t = Tensor.of(s, dtype, size);
                assertThatCode(() -> Finite.requireWritable("w", t)).doesNotThrowAnyException();
                put(s, bytes, at, bad);
                assertThatThrownBy(() -> Finite.requireWritable("w", t))
                        .isInstanceOf(UserException.class)
                        .hasMessage(
                                "tensor w, as it was computed, is a NaN or beyond the range of %s at element %d"
                                        .formatted(dtype, at));
            }
        }
    }

    private static void put(MemorySegment s, int bytes, int i, String hex) {
        int bits = Integer.parseUnsignedInt(hex, 16);
        if (bytes == 4) {
            s.set(ValueLayout.JAVA_INT_UNALIGNED, 4L * i, bits);
        } else {
            s.set(ValueLayout.JAVA_SHORT_UNALIGNED, 2L * i, (short) bits);
        }
    }
}
