// SPDX-License-Identifier: Apache-2.0
package io.llmc.formats;

import com.fasterxml.jackson.databind.node.ObjectNode;
import io.llmc.tensor.Codes;
import io.llmc.tensor.DType;
import io.llmc.tensor.Encoding;
import io.llmc.tensor.Shape;
import io.llmc.tensor.Tensor;
import io.llmc.tensor.Tiles;
import io.llmc.tensor.Weight;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.SegmentAllocator;
import java.lang.foreign.ValueLayout;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Optional;
import java.util.SequencedMap;

/// compressed-tensors' `pack-quantized`: what vLLM and transformers read.
///
/// | tensor | |
/// |---|---|
/// | `weight_packed` | I32 `[out, ceil(in*bits/32)]`, one bit stream a row: [Weight.Grouped]'s codes |
/// | `weight_scale` | `[out, groups]` in the model's type |
/// | `weight_zero_point` | I32 `[ceil(out*bits/32), groups]`, a bit stream along the outputs; absent where symmetric |
/// | `weight_shape` | I64 `[2]`: out, in |
/// | `weight_g_idx` | I32 `[in]`; only where groups are not contiguous |
///
/// compressed-tensors 0.19 and later refuse a config with a group index (`actorder: group`). Up to
/// 0.16, 3-bit values were packed ten to a word; such files are read, and written the new way.
final class CompressedTensorsLayout implements WeightLayout {
    /// The version whose config this writes.
    private static final String VERSION = "0.19.0";

    private static final String PACKED = ".weight_packed";
    private static final String SCALE = ".weight_scale";
    private static final String ZERO = ".weight_zero_point";
    private static final String SHAPE = ".weight_shape";
    private static final String INDEX = ".weight_g_idx";

    @Override
    public String name() {
        return "compressed-tensors";
    }

    @Override
    public boolean matches(Checkpoint checkpoint, String linear) {
        return checkpoint.has(linear + PACKED)
                && checkpoint.scheme().orElse(null) instanceof CompressedTensorsConfig;
    }

    /// Everything of a weight; codes as they are in the file.
    private record Parts(
            Encoding.Grid<Codes.Ints> spec,
            long out,
            long in,
            boolean dense,
            Tensor scales,
            Tensor zeros,
            Tensor index) {}

    @Override
    public Weight decode(TensorReader reader, String linear) {
        Parts p = parts(reader, linear);
        return new Weight.Grouped(
                Groups.withZeros(p.spec, p.zeros),
                p.in,
                codes(reader, linear, p.spec, p.out, p.in, p.dense),
                p.scales,
                p.zeros,
                p.index);
    }

    @Override
    public Shape require(TensorReader reader, String linear) {
        Parts p = parts(reader, linear);
        return new Shape(p.out, p.in);
    }

    private static Parts parts(TensorReader reader, String linear) {
        Checkpoint checkpoint = reader.checkpoint();
        CompressedTensorsConfig config =
                (CompressedTensorsConfig) checkpoint.scheme().orElseThrow();
        Encoding.Grid<Codes.Ints> spec = config.spec(linear);
        Path file = checkpoint.file(linear + PACKED);
        TensorInfo packed = checkpoint.info(linear + PACKED);
        MemorySegment shape = reader.tensor(linear + SHAPE, DType.I64, 2).bytes();
        long out = shape.getAtIndex(BitStream.LONG, 0);
        long in = shape.getAtIndex(BitStream.LONG, 1);
        if (packed.shape().rank() != 2
                || packed.shape().dim(0) != out
                || in <= 0
                || in > packed.shape().dim(1) * 32) {
            throw new FormatException(
                    file, "%s does not hold a [%d, %d] weight".formatted(packed, out, in));
        }
        boolean dense = densePacking(config, spec, in, packed.shape().dim(1));
        long words =
                dense
                        ? spec.codes().words(in)
                        : Math.ceilDiv(in, (long) (32 / spec.codes().bits()));
        MemorySegment codes = reader.tensor(linear + PACKED, DType.I32, out, words).bytes();
        DType dtype = checkpoint.info(linear + SCALE).dtype();
        long groups = spec.tiles().across(in);
        Tensor scales =
                Groups.requireFinite(
                        file,
                        linear + SCALE,
                        reader.tensor(
                                linear + SCALE, dtype.isFloat() ? dtype : DType.F32, out, groups));
        Tensor zeros = zeros(reader, linear, spec, out, groups, dense);
        Tensor index =
                Groups.index(
                        file,
                        linear + INDEX,
                        checkpoint.has(linear + INDEX)
                                ? reader.tensor(linear + INDEX, DType.I32, in)
                                : null,
                        spec);
        Groups.requireScaled(
                file,
                linear + SCALE,
                scales,
                spec,
                in,
                index,
                (o, i) ->
                        dense
                                ? BitStream.get(codes, o * words, 1, i, spec.codes().bits())
                                : gapped(codes, o * words, 1, i, spec.codes().bits()));
        return new Parts(spec, out, in, dense, scales, zeros, index);
    }

    /// Whether values follow each other without gaps: told by the width, or by the version where
    /// both widths are equal.
    private static boolean densePacking(
            CompressedTensorsConfig config, Encoding.Grid<Codes.Ints> spec, long in, long words) {
        boolean dense = words == spec.codes().words(in);
        boolean gaps = words == Math.ceilDiv(in, (long) (32 / spec.codes().bits()));
        return dense && gaps ? 32 % spec.codes().bits() == 0 || config.packsDenseStream() : !gaps;
    }

    private static Tensor codes(
            TensorReader reader,
            String linear,
            Encoding.Grid<Codes.Ints> spec,
            long out,
            long in,
            boolean dense) {
        if (dense) {
            return reader.tensor(linear + PACKED, DType.I32, out, spec.codes().words(in));
        }
        int perWord = 32 / spec.codes().bits();
        long words = Math.ceilDiv(in, (long) perWord);
        MemorySegment from = reader.tensor(linear + PACKED, DType.I32, out, words).bytes();
        Tensor codes = Dequantizer.allocate(reader.arena(), DType.I32, out, spec.codes().words(in));
        MemorySegment to = codes.bytes();
        for (long o = 0; o < out; o++) {
            for (long i = 0; i < in; i++) {
                int value = gapped(from, o * words, 1, i, spec.codes().bits());
                BitStream.put(to, o * codes.cols(), 1, i, spec.codes().bits(), value);
            }
        }
        return codes;
    }

    /// Value `i` where a word holds `32 / bits` values and leaves its top bits unused.
    private static int gapped(MemorySegment words, long first, long stride, long i, int bits) {
        int perWord = 32 / bits;
        int word = words.getAtIndex(BitStream.WORD, first + i / perWord * stride);
        return word >>> (int) (i % perWord) * bits & (1 << bits) - 1;
    }

    private static Tensor zeros(
            TensorReader reader,
            String linear,
            Encoding.Grid<Codes.Ints> spec,
            long out,
            long groups,
            boolean dense) {
        if (!reader.checkpoint().has(linear + ZERO)) {
            return Groups.middleZeros(spec, out, groups, reader.arena());
        }
        TensorInfo info = reader.checkpoint().info(linear + ZERO);
        Tensor zeros = Dequantizer.allocate(reader.arena(), DType.U8, out, groups);
        if (info.dtype() == DType.I8) {
            // Older files hold them as they are: signed, one a byte.
            MemorySegment from = reader.tensor(linear + ZERO, DType.I8, out, groups).bytes();
            for (long i = 0; i < from.byteSize(); i++) {
                int zero = from.get(ValueLayout.JAVA_BYTE, i) + spec.codes().middleCode();
                if (zero < 0 || zero > spec.codes().maxCode()) {
                    throw new FormatException(
                            reader.checkpoint().file(linear + ZERO),
                            "'%s' is %d at element %d, expected %d to %d for %d bits"
                                    .formatted(
                                            linear + ZERO,
                                            zero - spec.codes().middleCode(),
                                            i,
                                            -spec.codes().middleCode(),
                                            spec.codes().maxCode() - spec.codes().middleCode(),
                                            spec.codes().bits()));
                }
                zeros.bytes().set(ValueLayout.JAVA_BYTE, i, (byte) zero);
            }
            return zeros;
        }
        long rows =
                dense
                        ? spec.codes().words(out)
                        : Math.ceilDiv(out, (long) (32 / spec.codes().bits()));
        MemorySegment words = reader.tensor(linear + ZERO, DType.I32, rows, groups).bytes();
        if (dense) {
            return Groups.unpackZeros(words, spec, out, groups, 1, groups, 0, reader.arena());
        }
        for (long o = 0; o < out; o++) {
            for (long g = 0; g < groups; g++) {
                int zero = gapped(words, g, groups, o, spec.codes().bits());
                zeros.bytes().set(ValueLayout.JAVA_BYTE, o * groups + g, (byte) zero);
            }
        }
        return zeros;
    }

    @Override
    public List<TensorInfo> plan(
            String linear,
            long out,
            long in,
            Encoding.Grid<Codes.Ints> spec,
            DType dtype,
            boolean groupIndex) {
        long groups = spec.tiles().across(in);
        List<TensorInfo> plan = new ArrayList<>();
        plan.add(TensorInfo.of(linear + PACKED, DType.I32, out, spec.codes().words(in)));
        plan.add(TensorInfo.of(linear + SCALE, dtype, out, groups));
        if (!spec.codes().symmetric()) {
            plan.add(TensorInfo.of(linear + ZERO, DType.I32, spec.codes().words(out), groups));
        }
        plan.add(TensorInfo.of(linear + SHAPE, DType.I64, 2));
        if (groupIndex) {
            plan.add(TensorInfo.of(linear + INDEX, DType.I32, in));
        }
        return List.copyOf(plan);
    }

    @Override
    public SequencedMap<String, Tensor> encode(
            String linear, Weight weight, DType dtype, SegmentAllocator memory) {
        Weight.Grouped w = Groups.grouped(name(), linear, weight);
        Encoding.Grid<Codes.Ints> spec = w.grid();
        SequencedMap<String, Tensor> tensors = new LinkedHashMap<>();
        tensors.put(linear + PACKED, w.codes());
        tensors.put(linear + SCALE, Groups.scales(w, dtype, memory));
        if (!spec.codes().symmetric()) {
            long groups = w.zeros().cols();
            Tensor packed =
                    Dequantizer.allocate(
                            memory, DType.I32, spec.codes().words(w.outFeatures()), groups);
            Groups.packZeros(packed.bytes(), w, 1, groups, 0);
            tensors.put(linear + ZERO, packed);
        }
        Tensor shape = Dequantizer.allocate(memory, DType.I64, 2);
        shape.bytes().setAtIndex(BitStream.LONG, 0, w.outFeatures());
        shape.bytes().setAtIndex(BitStream.LONG, 1, w.inFeatures());
        tensors.put(linear + SHAPE, shape);
        if (w.groupIndex() != null) {
            tensors.put(linear + INDEX, w.groupIndex());
        }
        return tensors;
    }

    @Override
    public DType scaleDtype(DType modelDtype) {
        return modelDtype;
    }

    @Override
    public int minZero(Encoding.Grid<Codes.Ints> spec) {
        return 0;
    }

    /// The library refuses keys that it does not know: these are exactly those that it writes.
    @Override
    public Optional<ObjectNode> quantizationConfig(QuantSummary summary) {
        ObjectNode config = Json.object();
        ObjectNode group = config.putObject("config_groups").putObject("group_0");
        group.put("format", "pack-quantized");
        group.putNull("input_activations");
        group.putNull("output_activations");
        group.putArray("targets").add("Linear");
        group.set("weights", weights(summary));
        config.put("format", "pack-quantized");
        config.putNull("global_compression_ratio");
        summary.ignored().forEach(config.putArray("ignore")::add);
        config.putNull("kv_cache_scheme");
        config.put("quant_method", "compressed-tensors");
        config.put("quantization_status", "compressed");
        config.putObject("sparsity_config");
        config.putObject("transform_config");
        config.put("version", VERSION);
        return Optional.of(config);
    }

    private static ObjectNode weights(QuantSummary summary) {
        Encoding.Grid<Codes.Ints> spec = summary.spec();
        boolean channel = spec.tiles().cols() == Tiles.ALL;
        ObjectNode weights = Json.object();
        if (summary.descAct() && !channel) {
            // Readers refuse an order of columns where there are no groups.
            weights.put("actorder", summary.groupIndex() ? "group" : "static");
        } else {
            weights.putNull("actorder");
        }
        weights.putNull("block_structure");
        weights.put("dynamic", false);
        weights.put("group_size", channel ? null : (Integer) spec.tiles().cols());
        weights.put("num_bits", spec.codes().bits());
        weights.put("observer", "memoryless_minmax");
        weights.putObject("observer_kwargs");
        weights.putNull("scale_dtype");
        weights.put("strategy", channel ? "channel" : "group");
        weights.put("symmetric", spec.codes().symmetric());
        weights.put("type", "int");
        weights.put("zp_dtype", spec.codes().symmetric() ? null : "torch.int8");
        return weights;
    }

    @Override
    public void writeExtraFiles(Path directory, QuantSummary summary) {
        // Everything is in config.json.
    }
}
