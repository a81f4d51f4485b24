// SPDX-License-Identifier: Apache-2.0
package io.llmc.pipeline;

import io.llmc.formats.HfConfig;
import io.llmc.formats.UserException;
import io.llmc.formats.checkpoint.Checkpoint;
import io.llmc.formats.checkpoint.TensorReader;
import io.llmc.model.Architecture;
import io.llmc.model.arch.Architectures;
import io.llmc.tensor.DType;
import io.llmc.tensor.Tensor;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.SequencedMap;

/// Refuses weights that are no numbers: a model's before anything is computed from them, an
/// output's before they are written.
public final class Finite {
    /// Words that are looked at together: they stay in the first cache.
    private static final int PIECE = 1024;

    private Finite() {}

    /// The same figures, with null for every number that JSON has no way to write.
    static SequencedMap<String, Object> figures(SequencedMap<String, Object> values) {
        SequencedMap<String, Object> finite = new LinkedHashMap<>();
        values.forEach((key, value) -> finite.put(key, figure(value)));
        return finite;
    }

    private static Object figure(Object value) {
        return switch (value) {
            case Double d when !Double.isFinite(d) -> null;
            case Float f when !Float.isFinite(f) -> null;
            case List<?> list -> {
                List<Object> finite = new ArrayList<>();
                list.forEach(item -> finite.add(figure(item)));
                yield finite;
            }
            case null, default -> value;
        };
    }

    /// Looks at all of a model, at the price of reading its files once: what is found after hours
    /// of work has cost them.
    ///
    /// @throws UserException naming the first tensor in file order that is damaged, and the element
    public static void requireAll(Checkpoint c, Progress progress) {
        progress.begin("looking for damaged weights", c.names().size());
        Architecture family = Architectures.of(c.config());
        for (String name : c.names()) {
            if (family.isBuffer(name)) {
                progress.advance(1, "");
                continue; // nobody reads it: masks of old checkpoints hold infinities
            }
            // A reader of its own for each tensor, so that one is mapped at a time.
            try (TensorReader reader = c.reader()) {
                long bad = bad(reader.tensor(name));
                if (bad >= 0) {
                    throw new UserException(
                            "tensor %s of %s has a NaN or an infinity at element %d"
                                    .formatted(name, c.directory(), bad),
                            "the checkpoint is damaged, or was trained until it diverged; fetch it"
                                    + " again");
                }
            }
            progress.advance(1, "");
        }
        progress.end();
    }

    /// As [#requireWritable(String, Tensor)], but for buffers, which nobody reads.
    ///
    /// @param config of the model that the tensor is of
    public static void requireWritable(HfConfig config, String name, Tensor t) {
        if (!Architectures.of(config).isBuffer(name)) {
            requireWritable(name, t);
        }
    }

    /// What was computed must not be written where its type cannot hold it.
    ///
    /// @param t in host memory
    /// @throws UserException naming the tensor and the first bad element
    public static void requireWritable(String name, Tensor t) {
        long bad = bad(t);
        if (bad >= 0) {
            throw new UserException(
                    "tensor %s, as it was computed, is a NaN or beyond the range of %s at element %d"
                            .formatted(name, t.dtype(), bad),
                    t.dtype() == DType.F16
                            ? "F16 ends at 65504: start from the model in BF16 or F32"
                            : "change less of the model, or leave this layer as it is");
        }
    }

    /// The first element that is no number, or -1.
    public static long bad(Tensor t) {
        return switch (t.dtype()) {
            case F32 -> scan(t.bytes(), 0x7f80_0000_7f80_0000L, 32);
            case BF16 -> scan(t.bytes(), 0x7f80_7f80_7f80_7f80L, 16);
            case F16 -> scan(t.bytes(), 0x7c00_7c00_7c00_7c00L, 16);
            default -> -1;
        };
    }

    /// The first element whose exponent bits are all ones; 8 bytes at a time, a lane of `width`
    /// bits each. Pieces are copied, for over an array the compiler tests several words at once.
    private static long scan(MemorySegment bytes, long exponents, int width) {
        long size = bytes.byteSize();
        long words = size / 8;
        long[] piece = new long[(int) Math.min(PIECE, words)];
        for (long from = 0; from < words; from += PIECE) {
            int n = (int) Math.min(PIECE, words - from);
            MemorySegment.copy(bytes, ValueLayout.JAVA_LONG_UNALIGNED, 8 * from, piece, 0, n);
            if (mayHold(piece, n, exponents, width)) {
                for (int i = 0; i < n; i++) {
                    long found = lane(piece[i], exponents, width);
                    if (found >= 0) {
                        return (from + i) * 64 / width + found;
                    }
                }
            }
        }
        long tail = 0;
        for (long b = 8 * words; b < size; b++) {
            tail |= (bytes.get(ValueLayout.JAVA_BYTE, b) & 0xffL) << (8 * (b - 8 * words));
        }
        long found = lane(tail, exponents, width);
        return found < 0 ? -1 : words * 64 / width + found;
    }

    /// Whether a lane of some word may have an exponent of all ones: false is certain.
    private static boolean mayHold(long[] words, int n, long exponents, int width) {
        // A lane of `rest` is zero where all exponent bits are set; the classic zero-lane test
        // finds
        // candidates fast, and only they are looked at one by one.
        long ones = width == 32 ? 0x0000_0001_0000_0001L : 0x0001_0001_0001_0001L;
        long top = ones << (width - 1);
        long found = 0;
        for (int i = 0; i < n; i++) {
            long rest = ~words[i] & exponents;
            found |= (rest - ones) & ~rest & top;
        }
        return found != 0;
    }

    /// The lane of a word whose exponent is all ones, or -1.
    private static long lane(long word, long exponents, int width) {
        long rest = ~word & exponents;
        long mask = width == 32 ? 0xffff_ffffL : 0xffffL;
        for (int k = 0; k < 64 / width; k++) {
            if ((rest >>> (k * width) & mask) == 0) {
                return k;
            }
        }
        return -1;
    }
}
