// SPDX-License-Identifier: Apache-2.0
package io.llmc.formats.gguf;

import io.llmc.tensor.BlockType;
import io.llmc.tensor.DType;
import java.util.Map;
import java.util.Optional;

/// Types of tensors that llmc reads.
///
/// @see <a href="https://github.com/ggml-org/ggml/blob/master/include/ggml.h">ggml_type</a>
enum GgufType {
    F32(0, null, DType.F32),
    F16(1, null, DType.F16),
    Q8_0(8, BlockType.Q8_0, DType.F32),
    BF16(30, null, DType.BF16);

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

    /// Null for plain values.
    private final BlockType blocks;

    private final DType dtype;

    /// @param dtype in which values are read
    GgufType(int number, BlockType blocks, DType dtype) {
        this.number = number;
        this.blocks = blocks;
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

    Optional<BlockType> blocks() {
        return Optional.ofNullable(blocks);
    }

    DType dtype() {
        return dtype;
    }

    /// Elements of a row that lie together.
    int length() {
        return blocks == null ? 1 : blocks.length();
    }

    /// Bytes of a row.
    ///
    /// @throws ArithmeticException on overflow
    long rowBytes(long elements) {
        return blocks == null ? dtype.bytesFor(elements) : blocks.rowBytes(elements);
    }
}
