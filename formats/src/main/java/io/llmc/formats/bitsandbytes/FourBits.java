// SPDX-License-Identifier: Apache-2.0
package io.llmc.formats.bitsandbytes;

import com.fasterxml.jackson.databind.node.ObjectNode;
import io.llmc.formats.ConfigSection;
import io.llmc.formats.Dequantizer;
import io.llmc.formats.FormatException;
import io.llmc.formats.Json;
import io.llmc.formats.Range;
import io.llmc.formats.TensorInfo;
import io.llmc.formats.checkpoint.Checkpoint;
import io.llmc.formats.checkpoint.Groups;
import io.llmc.formats.checkpoint.TensorReader;
import io.llmc.tensor.DType;
import io.llmc.tensor.Floats;
import io.llmc.tensor.Shape;
import io.llmc.tensor.Tensor;
import io.llmc.tensor.Weight;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.List;
import java.util.Map;
import java.util.Optional;

/// NF4 and FP4 (QLoRA, Dettmers et al., 2023, https://arxiv.org/abs/2305.14314): places in a code
/// book of 16 values, with a largest magnitude for each block of the flattened matrix.
///
/// | tensor | |
/// |---|---|
/// | `weight` | U8 `[out*in/2, 1]`, row after row, the high half of a byte first |
/// | `weight.quant_map` | F32 `[16]`, the code book |
/// | `weight.absmax` | F32 `[blocks]`; U8 where these are quantized themselves ("double quantization") |
/// | `weight.nested_quant_map`, `weight.nested_absmax` | F32 `[256]` and one a block of `absmax` |
/// | `weight.quant_state.bitsandbytes__nf4` | U8, JSON: type, block sizes, offset, shape |
///
/// @param shape of the weight, `[out, in]`
/// @param type to which values are rounded
/// @param book F32 `[16]`
/// @param largest of the magnitudes of each block
record FourBits(
        Shape shape, DType type, int blockSize, Tensor codes, float[] book, float[] largest) {
    private static final Range COUNT = Range.upTo(Integer.MAX_VALUE);
    private static final List<String> TYPES = List.of("nf4", "fp4");
    private static final Map<String, DType> DTYPES =
            Map.of("float32", DType.F32, "float16", DType.F16, "bfloat16", DType.BF16);

    /// Of a JSON text beside a weight; real ones have less than 200.
    private static final long MOST_BYTES = 1 << 16;

    /// The name of the tensor that says how a layer is packed; empty where it is not, in this way.
    static Optional<String> state(Checkpoint c, String linear) {
        return TYPES.stream()
                .map(type -> linear + ".weight.quant_state.bitsandbytes__" + type)
                .filter(c::has)
                .findFirst();
    }

    /// Everything but the codes is read.
    ///
    /// @throws FormatException where the tensors do not fit together
    static FourBits of(TensorReader reader, String linear) {
        String weight = linear + ".weight";
        ConfigSection state = state(reader, linear);
        DType type = DTYPES.get(state.text("dtype"));
        if (type == null) {
            throw state.wrong("dtype", "float32, float16 or bfloat16");
        }
        List<Integer> dims = state.integers("shape", COUNT);
        if (dims.size() != 2 || (long) dims.get(0) * dims.get(1) % 2 != 0) {
            throw state.wrong("shape", "two numbers, one of them even");
        }
        Shape shape = new Shape(dims.get(0), dims.get(1));
        int blockSize = state.integer("blocksize", COUNT);
        if (Math.ceilDiv(shape.size(), (long) blockSize) > Integer.MAX_VALUE) {
            throw state.wrong("blocksize", "a number that leaves fewer than 2^31 blocks");
        }
        int blocks = (int) Math.ceilDiv(shape.size(), (long) blockSize);
        float[] book = floats(reader, weight + ".quant_map", 16);
        float[] largest =
                reader.checkpoint().has(weight + ".nested_absmax")
                        ? nested(reader, weight, state, blocks)
                        : floats(reader, weight + ".absmax", blocks);
        Tensor codes = reader.tensor(weight, DType.U8, shape.size() / 2, 1);
        return new FourBits(shape, type, blockSize, codes, book, largest);
    }

    private static ConfigSection state(TensorReader reader, String linear) {
        String name = state(reader.checkpoint(), linear).orElseThrow();
        TensorInfo info = reader.checkpoint().info(name);
        if (info.dtype() != DType.U8 || info.byteSize() > MOST_BYTES) {
            throw new FormatException(
                    reader.checkpoint().file(name), info + ", expected a short text as U8");
        }
        byte[] bytes = reader.tensor(name).bytes().toArray(ValueLayout.JAVA_BYTE);
        ObjectNode json = Json.readObject(reader.checkpoint().file(name), bytes);
        return new ConfigSection(reader.checkpoint().file(name), name + ".", json);
    }

    /// `nested_quant_map[a] * nested_absmax[k / nested_blocksize] + nested_offset`
    private static float[] nested(
            TensorReader reader, String weight, ConfigSection state, int blocks) {
        int size = state.integer("nested_blocksize", COUNT);
        float offset = (float) state.decimal("nested_offset", Range.ANY);
        float[] book = floats(reader, weight + ".nested_quant_map", 256);
        float[] outer = floats(reader, weight + ".nested_absmax", Math.ceilDiv(blocks, size));
        MemorySegment codes = reader.tensor(weight + ".absmax", DType.U8, blocks).bytes();
        float[] largest = new float[blocks];
        for (int k = 0; k < blocks; k++) {
            int code = codes.get(ValueLayout.JAVA_BYTE, k) & 0xff;
            largest[k] = book[code] * outer[k / size] + offset;
        }
        return largest;
    }

    private static float[] floats(TensorReader reader, String name, int length) {
        Tensor t = reader.tensor(name, DType.F32, length);
        Groups.requireFinite(reader.checkpoint().file(name), name, t);
        float[] values = new float[length];
        for (int i = 0; i < length; i++) {
            values[i] = Floats.get(t.bytes(), DType.F32, i);
        }
        return values;
    }

    /// `round(book[code] * largest[block])`
    Weight values(TensorReader reader) {
        Tensor values = Dequantizer.allocate(reader.arena(), type, shape.dims());
        MemorySegment to = values.bytes();
        MemorySegment from = codes.bytes();
        for (long i = 0; i < shape.size(); i++) {
            int both = from.get(ValueLayout.JAVA_BYTE, i / 2) & 0xff;
            int code = i % 2 == 0 ? both >>> 4 : both & 0xf;
            Floats.set(to, type, i, book[code] * largest[(int) (i / blockSize)]);
        }
        return new Weight.Dense(values);
    }
}
