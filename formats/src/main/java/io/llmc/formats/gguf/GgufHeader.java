// SPDX-License-Identifier: Apache-2.0
package io.llmc.formats.gguf;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.JsonNodeFactory;
import com.fasterxml.jackson.databind.node.ObjectNode;
import io.llmc.formats.ConfigSection;
import io.llmc.formats.FileKind;
import io.llmc.formats.FormatException;
import io.llmc.formats.OpenFile;
import io.llmc.formats.Range;
import io.llmc.formats.UserException;
import io.llmc.tensor.Shape;
import java.math.BigInteger;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.SequencedMap;

/// The head of a GGUF file of version 2 or 3: magic, version, the numbers of tensors and of keys,
/// the keys with their values, the table of tensors; then, from the next multiple of the alignment
/// on, the data of all tensors in the order of the table, each padded to the alignment.
///
/// @param metadata one flat object; `llama.block_count` is a key
record GgufHeader(ConfigSection metadata, SequencedMap<String, Entry> tensors) {
    private static final int MAX_TENSORS = 500_000;

    /// Keys and elements of lists: three times the largest vocabularies with their merges.
    private static final int MAX_VALUES = 5_000_000;

    private static final int MAX_RANK = 4;
    private static final String ALIGNMENT = "general.alignment";

    private static final int STRING = 8;
    private static final int ARRAY = 9;

    /// Bytes that a value takes at least, by the number of its type.
    private static final int[] LEAST = {1, 1, 2, 2, 4, 4, 4, 1, 8, 12, 8, 8, 8};

    /// @param shape outermost dimension first; the file has them the other way round
    /// @param offset of the first byte in the file
    record Entry(String name, GgufType type, Shape shape, long offset, long bytes) {}

    /// @throws FormatException where the file is not a whole and consistent GGUF file
    /// @throws UserException where it is one that llmc does not read
    static GgufHeader read(OpenFile file) {
        return new Reader(file).read();
    }

    /// The state of one parse.
    private static final class Reader {
        private static final JsonNodeFactory JSON = JsonNodeFactory.instance;

        private final OpenFile file;
        private final GgufInput in;
        private final ObjectNode values = JSON.objectNode();
        private final SequencedMap<String, Entry> tensors = new LinkedHashMap<>();
        private int read;

        Reader(OpenFile file) {
            this.file = file;
            this.in = new GgufInput(file);
        }

        GgufHeader read() {
            if (file.bytes() < 4 || in.u32() != 0x46554747) {
                throw FileKind.ofBinary(file.path())
                        .map(kind -> kind.refusal(file.path(), "a GGUF file"))
                        .orElseGet(() -> new FormatException(file.path(), "is not a GGUF file"));
            }
            requireVersion(in.u32());
            int count = in.count("tensors", 24);
            if (count > MAX_TENSORS) {
                throw in.wrong("more than %,d tensors".formatted(MAX_TENSORS));
            }
            int keys = in.count("keys", 13);
            for (int i = 0; i < keys; i++) {
                String key = in.text();
                if (values.has(key)) {
                    throw in.wrong("the key '%s' is there twice".formatted(key));
                }
                values.set(key, value(in.u32(), true));
            }
            ConfigSection metadata = new ConfigSection(file.path(), "", values);
            int alignment = metadata.integer(ALIGNMENT, Range.upTo(1 << 20), 32);
            if (Integer.bitCount(alignment) != 1) {
                throw metadata.wrong(ALIGNMENT, "a power of two");
            }
            readTensors(count, alignment);
            return new GgufHeader(metadata, tensors);
        }

        private void requireVersion(int version) {
            if (version == 2 || version == 3) {
                return;
            }
            int swapped = Integer.reverseBytes(version);
            throw new UserException(
                    "%s: GGUF version %s, but llmc reads versions 2 and 3, little-endian"
                            .formatted(
                                    file.path(),
                                    swapped == 2 || swapped == 3
                                            ? swapped + ", big-endian"
                                            : Integer.toUnsignedString(version)),
                    "convert the model again with a current llama.cpp");
        }

        private JsonNode value(int type, boolean lists) {
            if (++read > MAX_VALUES) {
                throw in.wrong("more than %,d values".formatted(MAX_VALUES));
            }
            return switch (type) {
                case 0 -> JSON.numberNode(in.u8() & 0xff);
                case 1 -> JSON.numberNode((int) in.u8());
                case 2 -> JSON.numberNode(in.u16() & 0xffff);
                case 3 -> JSON.numberNode((int) in.u16());
                case 4 -> JSON.numberNode(in.u32() & 0xffff_ffffL);
                case 5 -> JSON.numberNode(in.u32());
                case 6 -> decimal(Float.intBitsToFloat(in.u32()));
                case 7 -> bool(in.u8());
                case STRING -> JSON.textNode(in.text());
                case ARRAY -> array(lists);
                case 10 -> JSON.numberNode(new BigInteger(Long.toUnsignedString(in.u64())));
                case 11 -> JSON.numberNode(in.u64());
                case 12 -> JSON.numberNode(Double.longBitsToDouble(in.u64()));
                default ->
                        throw in.wrong(
                                "a value of the unknown type %s"
                                        .formatted(Integer.toUnsignedString(type)));
            };
        }

        /// The shortest decimal that is this float, as whoever wrote it meant: 0.00001 and not
        /// 0.000009999999747378752.
        private static JsonNode decimal(float value) {
            return JSON.numberNode(Double.parseDouble(Float.toString(value)));
        }

        private JsonNode bool(byte value) {
            if (value != 0 && value != 1) {
                throw in.wrong("%d is neither true nor false".formatted(value));
            }
            return JSON.booleanNode(value == 1);
        }

        private ArrayNode array(boolean allowed) {
            int type = in.u32();
            if (!allowed || type == ARRAY) {
                throw in.wrong("a list of lists, which no model has");
            }
            int known = type < 0 || type >= LEAST.length ? 1 : LEAST[type];
            int length = in.count("elements of a list", known);
            ArrayNode array = JSON.arrayNode();
            for (int i = 0; i < length; i++) {
                array.add(value(type, false));
            }
            return array;
        }

        private void readTensors(int count, int alignment) {
            for (int i = 0; i < count; i++) {
                String name = in.text();
                if (tensors.putIfAbsent(name, tensor(name)) != null) {
                    throw in.wrong("the tensor '%s' is there twice".formatted(name));
                }
            }
            long start = aligned(in.position(), alignment);
            long end = start;
            for (var e : tensors.entrySet()) {
                Entry t = e.getValue();
                if (t.offset != end - start) {
                    throw new FormatException(
                            file.path(),
                            "tensor '%s' begins at byte %s of the data, expected %d: tensors overlap or leave a hole"
                                    .formatted(
                                            t.name, Long.toUnsignedString(t.offset), end - start));
                }
                if (t.bytes > file.bytes() - end) {
                    throw new FormatException(
                            file.path(),
                            "tensor '%s' goes on beyond the end of the file: it is cut short, download it again"
                                    .formatted(t.name));
                }
                e.setValue(new Entry(t.name, t.type, t.shape, end, t.bytes));
                end = aligned(end + t.bytes, alignment);
            }
        }

        private static long aligned(long at, int alignment) {
            return Math.ceilDiv(at, (long) alignment) * alignment;
        }

        /// With its offset as the file has it.
        private Entry tensor(String name) {
            int rank = in.u32();
            if (rank < 1 || rank > MAX_RANK) {
                throw in.wrong(
                        "tensor '%s' has %s dimensions, expected 1 to %d"
                                .formatted(name, Integer.toUnsignedString(rank), MAX_RANK));
            }
            long[] dims = new long[rank];
            for (int i = rank - 1; i >= 0; i--) {
                dims[i] = in.u64();
                if (dims[i] < 1) {
                    throw in.wrong(
                            "tensor '%s' has a dimension of %s"
                                    .formatted(name, Long.toUnsignedString(dims[i])));
                }
            }
            int number = in.u32();
            GgufType type =
                    GgufType.of(number)
                            .orElseThrow(() ->
                                    new UserException(
                                            "%s: tensor '%s' is %s, but llmc reads F32, F16, BF16 and Q8_0 in GGUF files"
                                                    .formatted(
                                                            file.path(),
                                                            name,
                                                            GgufType.nameOf(number)),
                                            "start from a file of this model in one of these, or"
                                                    + " from its safetensors"));
            return new Entry(name, type, new Shape(dims), in.u64(), bytes(name, type, dims));
        }

        private long bytes(String name, GgufType type, long[] dims) {
            long row = dims[dims.length - 1];
            if (row % type.length() != 0 || type.length() > 1 && dims.length != 2) {
                throw in.wrong(
                        "tensor '%s' is %s%s, expected a matrix with rows of a multiple of %d"
                                .formatted(name, type, Arrays.toString(dims), type.length()));
            }
            try {
                Shape shape = new Shape(dims);
                // As they are read, too, so that no size overflows later.
                type.dtype().bytesFor(shape.size());
                return Math.multiplyExact(type.rowBytes(row), shape.size() / row);
            } catch (ArithmeticException e) {
                throw in.wrong("tensor '%s' has more elements than fit".formatted(name));
            }
        }
    }
}
