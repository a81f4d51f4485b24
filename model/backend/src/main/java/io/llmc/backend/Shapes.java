// SPDX-License-Identifier: Apache-2.0
package io.llmc.backend;

import io.llmc.tensor.DType;
import io.llmc.tensor.Tensor;
import java.util.Arrays;
import java.util.Objects;
import java.util.stream.Stream;

/// What the constructors of operations check.
final class Shapes {
    private Shapes() {}

    static boolean f32(Tensor... tensors) {
        return Arrays.stream(tensors).allMatch(t -> t.dtype() == DType.F32);
    }

    /// A number for each head, or none.
    static boolean each(AttentionSpec.Heads heads, Tensor numbers) {
        return numbers == null || numbers.isVector(heads.count()) && f32(numbers);
    }

    static Stream<Tensor> some(Tensor... tensors) {
        return Arrays.stream(tensors).filter(Objects::nonNull);
    }

    static void require(boolean ok, String op, Object... operands) {
        if (!ok) {
            throw new IllegalArgumentException(
                    op + ": shapes do not fit: " + Arrays.toString(operands));
        }
    }
}
