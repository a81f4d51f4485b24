// SPDX-License-Identifier: Apache-2.0
package io.llmc.formats;

import io.llmc.tensor.DType;
import io.llmc.tensor.Shape;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.ByteOrder;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.Optional;

/// Layers of all experts of a block as gpt-oss is published: floats of four bits, 32 of which share
/// a power of two (MXFP4 of the OCP Microscaling Formats 1.0).
///
/// | tensor | |
/// |---|---|
/// | `_blocks` | U8 `[experts, out, in / 32, 16]`: E2M1, the lower half of a byte first |
/// | `_scales` | U8 `[experts, out, in / 32]`: E8M0, exponents above -127 |
///
/// They are read as the plain BF16 values that they stand for, each exactly.
///
/// @param stack as the plain values are stored, under the tensor's name without `_blocks`
public record Mxfp4Stack(ExpertStack stack, String blocks, String scales) {
    static final String BLOCKS = "_blocks";
    private static final String SCALES = "_scales";
    private static final int BYTES = 16;
    private static final int WIDTH = 2 * BYTES;
    private static final int BIAS = 127;

    /// The largest exponent with which all codes are numbers in BF16: 6 * 2^125.
    private static final int MOST = 252;

    private static final float[] CODES = {0, .5f, 1, 1.5f, 2, 3, 4, 6};
    private static final ValueLayout.OfShort SHORT =
            ValueLayout.JAVA_SHORT_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);

    /// What each code is with each scale, in BF16: [scale * 16 + code].
    private static final short[] VALUES = values();

    private static short[] values() {
        short[] values = new short[(MOST + 1) * 16];
        for (int i = 0; i < values.length; i++) {
            float size = (float) Math.scalb((double) CODES[i & 7], i / 16 - BIAS);
            int bits = Float.floatToRawIntBits(size) >>> 16;
            values[i] = (short) ((i & 8) == 0 ? bits : bits | 0x8000);
        }
        return values;
    }

    /// Those among the tensors of a model.
    ///
    /// @throws FormatException where blocks and scales do not fit together
    public static List<Mxfp4Stack> of(HfConfig config, Map<String, TensorInfo> tensors) {
        List<Mxfp4Stack> all = new ArrayList<>();
        for (TensorInfo t : tensors.values()) {
            ExpertStack.ofName(t.name(), BLOCKS)
                    .ifPresent(stack -> {
                        Mxfp4Stack found = new Mxfp4Stack(stack, t.name(), stack.name() + SCALES);
                        found.requireShapes(config, t, tensors.get(found.scales));
                        all.add(found);
                    });
        }
        return all;
    }

    private void requireShapes(HfConfig config, TensorInfo b, TensorInfo s) {
        long[] dims = b.shape().dims();
        boolean fits =
                b.dtype() == DType.U8
                        && dims.length == 4
                        && dims[3] == BYTES
                        && dims[1] % stack.layers().size() == 0
                        && s != null
                        && s.dtype() == DType.U8
                        && Arrays.equals(s.shape().dims(), Arrays.copyOf(dims, 3));
        if (!fits) {
            throw new FormatException(
                    config.file().toAbsolutePath().getParent(),
                    "'%s' is %s beside %s, expected U8 [experts, out, in / 32, 16] and '%s', U8 [experts, out, in / 32]"
                            .formatted(blocks, b, s == null ? "nothing" : s, scales));
        }
    }

    /// The plain values of a part.
    public TensorInfo info(ExpertStack.Part part, TensorInfo wholeBlocks) {
        Shape shape = wholeBlocks.shape();
        return TensorInfo.of(
                part.name(),
                DType.BF16,
                shape.dim(1) / stack.layers().size(),
                shape.dim(2) * WIDTH);
    }

    /// @param out BF16 `[out, in]`, as [#info] has it
    /// @param codes of the part's expert
    /// @param exponents of the part's expert
    /// @return empty where all went well, else an exponent whose values BF16 does not hold
    public Optional<Integer> decode(
            ExpertStack.Part part,
            TensorInfo info,
            MemorySegment out,
            MemorySegment codes,
            MemorySegment exponents) {
        long rows = info.shape().dim(0);
        long across = info.shape().dim(1) / WIDTH;
        for (long r = 0; r < rows; r++) {
            long row =
                    stack.interleaved()
                            ? r * stack.layers().size() + part.layer()
                            : part.layer() * rows + r;
            for (long b = 0; b < across; b++) {
                int exponent = exponents.get(ValueLayout.JAVA_BYTE, row * across + b) & 0xff;
                if (exponent > MOST) {
                    return Optional.of(exponent);
                }
                long from = (row * across + b) * BYTES;
                long to = (r * across + b) * WIDTH * 2;
                for (int i = 0; i < BYTES; i++) {
                    int both = codes.get(ValueLayout.JAVA_BYTE, from + i) & 0xff;
                    out.set(SHORT, to + 4 * i, VALUES[exponent * 16 + (both & 15)]);
                    out.set(SHORT, to + 4 * i + 2, VALUES[exponent * 16 + (both >>> 4)]);
                }
            }
        }
        return Optional.empty();
    }
}
