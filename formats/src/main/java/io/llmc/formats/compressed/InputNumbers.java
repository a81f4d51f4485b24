// SPDX-License-Identifier: Apache-2.0
package io.llmc.formats.compressed;

import io.llmc.formats.FormatException;
import io.llmc.formats.TensorInfo;
import io.llmc.formats.checkpoint.Checkpoint;
import io.llmc.formats.checkpoint.TensorReader;
import io.llmc.tensor.ActivationScheme;
import io.llmc.tensor.Codes;
import io.llmc.tensor.DType;
import io.llmc.tensor.InputRounding;
import io.llmc.tensor.ScaleKind;
import io.llmc.tensor.Tensor;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.SequencedMap;

/// The numbers that a layer keeps for the rounding of its inputs.
///
/// | tensor | |
/// |---|---|
/// | `input_scale` | `[1]` in the model's type; static scales |
/// | `input_zero_point` | I8 `[1]`; of static scales that are asymmetric |
/// | `input_global_scale` | F32 `[1]`, which divides nested scales |
final class InputNumbers {
    private static final String SCALE = ".input_scale";
    private static final String ZERO = ".input_zero_point";
    private static final String GLOBAL = ".input_global_scale";

    private InputNumbers() {}

    /// @throws FormatException where a number is missing, or makes no sense
    static InputRounding read(TensorReader reader, String linear, ActivationScheme scheme) {
        if (!scheme.calibrated()) {
            return InputRounding.dynamic(scheme);
        }
        Checkpoint c = reader.checkpoint();
        boolean nested = scheme.grid().scales() == ScaleKind.NESTED;
        String name = linear + (nested ? GLOBAL : SCALE);
        Tensor scale = Stored.one(reader, name);
        if (nested ? scale.dtype() != DType.F32 : !scale.dtype().isFloat()) {
            throw new FormatException(
                    c.file(name),
                    "%s, expected %s".formatted(c.info(name), nested ? "F32" : "F32, F16 or BF16"));
        }
        FloatScales.requirePositive(c, name, scale);
        return new InputRounding(scheme, scale, zero(reader, linear, scheme));
    }

    private static Tensor zero(TensorReader reader, String linear, ActivationScheme scheme) {
        if (!asymmetric(scheme)) {
            return null;
        }
        Tensor zero = Stored.one(reader, linear + ZERO);
        if (zero.dtype() != DType.I8) {
            Checkpoint c = reader.checkpoint();
            throw new FormatException(
                    c.file(linear + ZERO), c.info(linear + ZERO) + ", expected I8");
        }
        return zero;
    }

    private static boolean asymmetric(ActivationScheme scheme) {
        return scheme.codes() instanceof Codes.Ints ints && !ints.symmetric();
    }

    /// @param plain the type of scales that are not nested
    static List<TensorInfo> plan(String linear, ActivationScheme scheme, DType plain) {
        List<TensorInfo> plan = new ArrayList<>();
        if (scheme.grid().scales() == ScaleKind.NESTED) {
            plan.add(TensorInfo.of(linear + GLOBAL, DType.F32, 1));
        } else if (scheme.calibrated()) {
            plan.add(TensorInfo.of(linear + SCALE, plain, 1));
            if (asymmetric(scheme)) {
                plan.add(TensorInfo.of(linear + ZERO, DType.I8, 1));
            }
        }
        return plan;
    }

    static SequencedMap<String, Tensor> encode(String linear, InputRounding rounding) {
        SequencedMap<String, Tensor> tensors = new LinkedHashMap<>();
        if (rounding.scale() != null) {
            boolean nested = rounding.scheme().grid().scales() == ScaleKind.NESTED;
            tensors.put(linear + (nested ? GLOBAL : SCALE), rounding.scale());
        }
        if (rounding.zero() != null) {
            tensors.put(linear + ZERO, rounding.zero());
        }
        return tensors;
    }
}
