// SPDX-License-Identifier: Apache-2.0
package io.llmc.pipeline.plan;

import io.llmc.tensor.ActivationScheme;
import io.llmc.tensor.Codes;
import io.llmc.tensor.DType;
import io.llmc.tensor.Scheme;
import java.util.List;
import java.util.Optional;

/// What numbers a product is made of. Sums are wider.
public enum Arithmetic {
    F32,
    /// BF16 or F16, which run at one speed.
    BF16,
    INT8,
    FP8,
    FP4;

    /// What engines multiply a layer with: weights alone in few bits become BF16 numbers again, and
    /// only where inputs are rounded, too, the unit for such codes can be used.
    ///
    /// @param stored type of weights that are plain
    public static Arithmetic of(Optional<Scheme> scheme, DType stored) {
        Optional<ActivationScheme> inputs = scheme.flatMap(Scheme::inputs);
        if (inputs.isEmpty()) {
            return scheme.isEmpty() && stored == DType.F32 ? F32 : BF16;
        }
        return switch (inputs.get().codes()) {
            case Codes.Ints _ -> INT8;
            case Codes.Floats(DType type) -> type == DType.F4 ? FP4 : FP8;
        };
    }

    /// Those that can stand in for this one on a device without units for it, the best first.
    List<Arithmetic> instead() {
        return switch (this) {
            case F32 -> List.of(F32);
            case BF16 -> List.of(BF16, F32);
            case INT8 -> List.of(INT8, BF16, F32);
            case FP8 -> List.of(FP8, BF16, F32);
            case FP4 -> List.of(FP4, FP8, BF16, F32);
        };
    }
}
