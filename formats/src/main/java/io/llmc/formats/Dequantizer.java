// SPDX-License-Identifier: Apache-2.0
package io.llmc.formats;

import io.llmc.tensor.DType;
import io.llmc.tensor.Floats;
import io.llmc.tensor.Tensor;
import io.llmc.tensor.Weight;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.SegmentAllocator;
import java.lang.foreign.ValueLayout;

/// The values that readers of these files compute from packed weights, bit for bit. A reference,
/// one thread; a backend's kernels are tested against it.
public final class Dequantizer {
    private Dequantizer() {}

    /// The values of any weight as F32, F16 or BF16 `[out, in]`: its own tensor where it has that
    /// type already, otherwise from `memory`.
    public static Tensor values(Weight weight, DType dtype, SegmentAllocator memory) {
        if (weight instanceof Weight.Dense(Tensor own) && own.dtype() == dtype) {
            return own;
        }
        Tensor out = allocate(memory, dtype, weight.outFeatures(), weight.inFeatures());
        switch (weight) {
            case Weight.Dense(Tensor own) -> convert(out, own);
            case Weight.Grouped grouped -> dequantize(out, grouped);
            case Weight.Scaled scaled -> dequantize(out, scaled);
            case Weight.Blocks blocks -> dequantize(out, blocks);
        }
        return out;
    }

    /// `out[o,i] = round((code[o,i] - zero[o,g]) * scale[o,g])`, rounded to the type of the scales,
    /// then to the type of `out`.
    ///
    /// @param out F32, F16 or BF16 `[out, in]`
    public static void dequantize(Tensor out, Weight.Grouped w) {
        if (!out.is(w.outFeatures(), w.inFeatures())) {
            throw new IllegalArgumentException(out + " cannot hold " + w);
        }
        int in = Math.toIntExact(w.inFeatures());
        int groups = Math.toIntExact(w.scales().cols());
        int bits = w.grid().codes().bits();
        MemorySegment codes = w.codes().bytes();
        MemorySegment scales = w.scales().bytes();
        MemorySegment zeros = w.zeros().bytes();
        DType dtype = w.scales().dtype();
        int[] group = groupOfInput(w);
        int[] code = new int[in];
        float[] value = new float[in];
        float[] scale = new float[groups];
        int[] zero = new int[groups];
        for (long o = 0; o < w.outFeatures(); o++) {
            BitStream.unpack(code, codes, o * w.codes().cols(), bits);
            for (int g = 0; g < groups; g++) {
                scale[g] = Floats.get(scales, dtype, o * groups + g);
                zero[g] = zeros.get(ValueLayout.JAVA_BYTE, o * groups + g) & 0xff;
            }
            for (int i = 0; i < in; i++) {
                int g = group[i];
                value[i] = (code[i] - zero[g]) * scale[g];
            }
            round(value, dtype);
            store(out, o, value);
        }
    }

    /// `out[o,i] = round(value(code[o,i]) * scale[tile])`, rounded to [Weight.Scaled#valueType],
    /// then to the type of `out`.
    ///
    /// @param out F32, F16 or BF16 `[out, in]`
    public static void dequantize(Tensor out, Weight.Scaled w) {
        int in = Math.toIntExact(w.inFeatures());
        long height = w.grid().tiles().height(w.outFeatures());
        long width = w.grid().tiles().width(in);
        boolean halves = w.grid().codes().bits() == 4;
        MemorySegment codes = w.codes().bytes();
        float[] value = new float[in];
        for (long o = 0; o < w.outFeatures(); o++) {
            long tile = o / height * w.scales().cols();
            for (int i = 0; i < in; i++) {
                long at = o * in + i;
                int code = codes.get(ValueLayout.JAVA_BYTE, halves ? at / 2 : at);
                value[i] =
                        w.grid().codes().value(halves && i % 2 == 1 ? code >>> 4 : code)
                                * w.scale(tile + i / width);
            }
            round(value, w.valueType());
            store(out, o, value);
        }
    }

    /// `out[o,i] = scale * code`, in F32, then rounded to the type of `out`; see [BlockType].
    ///
    /// @param out F32, F16 or BF16 `[out, in]`
    public static void dequantize(Tensor out, Weight.Blocks w) {
        float[] value = new float[Math.toIntExact(w.inFeatures())];
        long rowBytes = w.type().rowBytes(w.inFeatures());
        for (long o = 0; o < w.outFeatures(); o++) {
            MemorySegment row = w.blocks().bytes().asSlice(o * rowBytes, rowBytes);
            for (int i = 0; i < value.length; i++) {
                long block = (long) (i / w.type().length()) * w.type().bytes();
                value[i] =
                        switch (w.type()) {
                            case Q8_0 -> {
                                float scale = Floats.get(row.asSlice(block, 2), DType.F16, 0);
                                yield scale * row.get(ValueLayout.JAVA_BYTE, block + 2 + i % 32);
                            }
                        };
            }
            store(out, o, value);
        }
    }

    private static int[] groupOfInput(Weight.Grouped w) {
        int[] group = new int[Math.toIntExact(w.inFeatures())];
        long length = w.grid().tiles().width(w.inFeatures());
        for (int i = 0; i < group.length; i++) {
            group[i] =
                    w.groupIndex() == null
                            ? (int) (i / length)
                            : w.groupIndex().bytes().getAtIndex(BitStream.WORD, i);
        }
        return group;
    }

    private static void round(float[] values, DType dtype) {
        if (dtype == DType.F16) {
            for (int i = 0; i < values.length; i++) {
                values[i] = Floats.roundToF16(values[i]);
            }
        } else if (dtype == DType.BF16) {
            for (int i = 0; i < values.length; i++) {
                values[i] = Floats.roundToBf16(values[i]);
            }
        }
    }

    private static void store(Tensor out, long row, float[] values) {
        MemorySegment segment = out.bytes();
        long first = row * values.length;
        for (int i = 0; i < values.length; i++) {
            Floats.set(segment, out.dtype(), first + i, values[i]);
        }
    }

    /// `out = in`, rounded to the type of `out`; F32, F16 or BF16, of one shape.
    public static void convert(Tensor out, Tensor in) {
        MemorySegment to = out.bytes();
        MemorySegment from = in.bytes();
        for (long i = 0; i < in.shape().size(); i++) {
            Floats.set(to, out.dtype(), i, Floats.get(from, in.dtype(), i));
        }
    }

    /// A zeroed tensor.
    public static Tensor allocate(SegmentAllocator memory, DType dtype, long... dims) {
        long bytes = TensorInfo.of("", dtype, dims).byteSize();
        return Tensor.of(memory.allocate(bytes, Long.BYTES).fill((byte) 0), dtype, dims);
    }
}
