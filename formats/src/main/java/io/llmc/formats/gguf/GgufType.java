// SPDX-License-Identifier: Apache-2.0
package io.llmc.formats.gguf;

import io.llmc.tensor.DType;
import java.util.Map;
import java.util.Optional;

/// Types of tensors that llmc reads.
///
/// @see <a href="https://github.com/ggml-org/ggml/blob/master/include/ggml.h">ggml_type</a>
enum GgufType {
    F32(0, 1, 4, DType.F32),
    F16(1, 1, 2, DType.F16),

    /// 32 signed bytes behind one F16 scale; `w = d * q`, which F32 holds exactly.
    Q8_0(8, 32, 34, DType.F32),
    BF16(30, 1, 2, DType.BF16);

    /// What ggml calls the others.
    private static final Map<Integer, String> OTHERS =
            Map.ofEntries(
                    Map.entry(2, "Q4_0"),
                    Map.entry(3, "Q4_1"),
                    Map.entry(6, "Q5_0"),
                    Map.entry(7, "Q5_1"),
                    Map.entry(9, "Q8_1"),
                    Map.entry(10, "Q2_K"),
                    Map.entry(11, "Q3_K"),
                    Map.entry(12, "Q4_K"),
                    Map.entry(13, "Q5_K"),
                    Map.entry(14, "Q6_K"),
                    Map.entry(15, "Q8_K"),
                    Map.entry(16, "IQ2_XXS"),
                    Map.entry(17, "IQ2_XS"),
                    Map.entry(18, "IQ3_XXS"),
                    Map.entry(19, "IQ1_S"),
                    Map.entry(20, "IQ4_NL"),
                    Map.entry(21, "IQ3_S"),
                    Map.entry(22, "IQ2_S"),
                    Map.entry(23, "IQ4_XS"),
                    Map.entry(24, "I8"),
                    Map.entry(25, "I16"),
                    Map.entry(26, "I32"),
                    Map.entry(27, "I64"),
                    Map.entry(28, "F64"),
                    Map.entry(29, "IQ1_M"),
                    Map.entry(34, "TQ1_0"),
                    Map.entry(35, "TQ2_0"),
                    Map.entry(39, "MXFP4"),
                    Map.entry(40, "NVFP4"),
                    Map.entry(41, "Q1_0"),
                    Map.entry(42, "Q2_0"));

    private final int number;
    private final int elements;
    private final int bytes;
    private final DType dtype;

    /// @param elements of a row in one block
    /// @param bytes of a block
    /// @param dtype in which values are read
    GgufType(int number, int elements, int bytes, DType dtype) {
        this.number = number;
        this.elements = elements;
        this.bytes = bytes;
        this.dtype = dtype;
    }

    static Optional<GgufType> of(int number) {
        for (GgufType type : values()) {
            if (type.number == number) {
                return Optional.of(type);
            }
        }
        return Optional.empty();
    }

    /// As `Q4_K`, of any type.
    static String nameOf(int number) {
        return of(number).map(Enum::name).orElse(OTHERS.getOrDefault(number, "type " + number));
    }

    int elements() {
        return elements;
    }

    int bytes() {
        return bytes;
    }

    DType dtype() {
        return dtype;
    }

    boolean isBlocks() {
        return elements > 1;
    }
}
