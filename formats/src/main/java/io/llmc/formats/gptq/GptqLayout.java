// SPDX-License-Identifier: Apache-2.0
package io.llmc.formats.gptq;

import com.fasterxml.jackson.databind.node.ObjectNode;
import io.llmc.formats.BitStream;
import io.llmc.formats.FormatException;
import io.llmc.formats.GridSpec;
import io.llmc.formats.Json;
import io.llmc.formats.LayerPlan;
import io.llmc.formats.TensorInfo;
import io.llmc.formats.UserException;
import io.llmc.formats.checkpoint.Checkpoint;
import io.llmc.formats.checkpoint.Groups;
import io.llmc.formats.checkpoint.QuantPlan;
import io.llmc.formats.checkpoint.Quantization;
import io.llmc.formats.checkpoint.TensorReader;
import io.llmc.formats.checkpoint.WeightLayout;
import io.llmc.tensor.Codes;
import io.llmc.tensor.DType;
import io.llmc.tensor.Encoding;
import io.llmc.tensor.Shape;
import io.llmc.tensor.Tensor;
import io.llmc.tensor.Tiles;
import io.llmc.tensor.Weight;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.SegmentAllocator;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Optional;
import java.util.OptionalLong;
import java.util.SequencedMap;
import java.util.stream.Collectors;
import java.util.stream.Stream;

/// GPTQ as AutoGPTQ, GPTQModel, vLLM and transformers spell it.
///
/// | tensor | |
/// |---|---|
/// | `qweight` | I32 `[in*bits/32, out]`, a bit stream down each column: [Weight.Grouped]'s codes transposed |
/// | `qzeros` | I32 `[groups, out*bits/32]`, a bit stream along the outputs |
/// | `scales` | F16 `[groups, out]` |
/// | `g_idx` | I32 `[in]` |
///
/// How they differ in codes and zero points is said by [Version].
final class GptqLayout implements WeightLayout {
    private static final String CODES = ".qweight";
    private static final String ZEROS = ".qzeros";
    private static final String SCALES = ".scales";
    private static final String INDEX = ".g_idx";

    private final Version version;

    GptqLayout(Version version) {
        this.version = version;
    }

    @Override
    public String name() {
        return version.format();
    }

    /// Codes fill whole 32-bit words, so their number follows from the bits, either way round.
    @Override
    public OptionalLong parameters(TensorReader reader, TensorInfo info) {
        if (info.name().endsWith(CODES)) {
            Optional<ObjectNode> config = reader.checkpoint().quantization();
            int bits = config.map(q -> q.path("bits").asInt(4)).orElse(4);
            return OptionalLong.of(info.byteSize() * 8 / Math.max(1, bits));
        }
        boolean beside = Stream.of(ZEROS, SCALES, INDEX).anyMatch(info.name()::endsWith);
        return beside ? OptionalLong.of(0) : OptionalLong.empty();
    }

    @Override
    public boolean packsHead() {
        return true;
    }

    @Override
    public boolean packs() {
        return true;
    }

    @Override
    public boolean matches(Checkpoint checkpoint, String linear) {
        return checkpoint.has(linear + CODES)
                && checkpoint.quantized().orElse(null) instanceof GptqConfig config
                && config.version() == version;
    }

    @Override
    public Optional<ScalesAt> scales(Checkpoint checkpoint, String linear) {
        return Optional.of(new ScalesAt(linear + SCALES, true));
    }

    /// Everything of a weight; codes and scales as they are in the file.
    private record Parts(
            Encoding.Grid<Codes.Ints> spec,
            long out,
            long in,
            Tensor codes,
            Tensor scales,
            Tensor zeros,
            Tensor index) {}

    @Override
    public Weight decode(TensorReader reader, String linear) {
        Parts p = parts(reader, linear);
        return new Weight.Grouped(
                Groups.withZeros(p.spec, p.zeros),
                p.in,
                version.stream(
                        Groups.transposed(p.codes, reader.arena()),
                        p.spec.codes().bits(),
                        reader.arena()),
                p.scales,
                p.zeros,
                p.index);
    }

    @Override
    public Shape require(TensorReader reader, String linear) {
        Parts p = parts(reader, linear);
        return new Shape(p.out, p.in);
    }

    private Parts parts(TensorReader reader, String linear) {
        Checkpoint checkpoint = reader.checkpoint();
        Path file = checkpoint.file(linear + CODES);
        GptqConfig config = (GptqConfig) checkpoint.quantized().orElseThrow();
        Encoding.Grid<Codes.Ints> said = config.grid(linear);
        TensorInfo packed = matrix(checkpoint, linear + CODES);
        TensorInfo scaleInfo = matrix(checkpoint, linear + SCALES);
        long words = packed.shape().dim(0);
        long out = packed.shape().dim(1);
        long groups = scaleInfo.shape().dim(0);
        long in =
                checkpoint.has(linear + INDEX)
                        ? checkpoint.info(linear + INDEX).shape().size()
                        : words * 32 / said.codes().bits();
        int bits = bits(file, packed, in, said.codes().bits(), config.mixed());
        Tensor index =
                checkpoint.has(linear + INDEX)
                        ? reader.tensor(linear + INDEX, DType.I32, in)
                        : null;
        int groupSize = groupSize(file, linear, said, config.mixed(), in, groups, index);
        Encoding.Grid<Codes.Ints> spec = Encoding.ints(bits, groupSize, said.codes().symmetric());
        Tensor packedZeros =
                reader.tensor(linear + ZEROS, DType.I32, groups, spec.codes().words(out));
        Tensor zeros = version.zeros(packedZeros, spec, out, reader.arena());
        DType dtype = scaleInfo.dtype().isFloat() ? scaleInfo.dtype() : DType.F16;
        Tensor stored =
                Groups.requireFinite(
                        file, linear + SCALES, reader.tensor(linear + SCALES, dtype, groups, out));
        Tensor scales = Groups.transposed(stored, reader.arena());
        Tensor codes = reader.tensor(linear + CODES, DType.I32, words, out);
        Tensor order = Groups.index(file, linear + INDEX, index, spec);
        MemorySegment bytes = codes.bytes();
        Groups.requireScaled(
                file,
                linear + SCALES,
                scales,
                spec,
                in,
                order,
                (o, i) -> version.code(bytes, o, out, i, bits));
        return new Parts(spec, out, in, codes, scales, zeros, order);
    }

    private static TensorInfo matrix(Checkpoint checkpoint, String name) {
        TensorInfo info = checkpoint.info(name);
        if (info.shape().rank() != 2 || info.shape().size() == 0) {
            throw new FormatException(checkpoint.file(name), info + ", expected a matrix");
        }
        return info;
    }

    /// As configured, or where that does not fit and layers may differ, from the sizes.
    private int bits(Path file, TensorInfo packed, long in, int said, boolean mixed) {
        long total = packed.shape().dim(0) * 32;
        List<Integer> allowed = mixed ? version.bits() : List.of(said);
        for (int bits : Stream.concat(Stream.of(said), allowed.stream()).toList()) {
            if (version.bits().contains(bits) && in > 0 && in * bits == total) {
                return bits;
            }
        }
        throw new FormatException(
                file,
                "%s does not hold %s bits for each of %d inputs"
                        .formatted(
                                packed,
                                allowed.stream()
                                        .map(String::valueOf)
                                        .collect(Collectors.joining(", ")),
                                in));
    }

    /// As configured, or where that does not fit and layers may differ, as long as group 0 is.
    private static int groupSize(
            Path file,
            String linear,
            Encoding.Grid<Codes.Ints> said,
            boolean mixed,
            long in,
            long groups,
            Tensor index) {
        if (said.tiles().across(in) == groups) {
            return said.tiles().cols();
        }
        if (groups == 1 && mixed) {
            return Tiles.ALL;
        }
        int length = 0;
        for (long i = 0; mixed && index != null && i < in; i++) {
            length += index.bytes().getAtIndex(BitStream.WORD, i) == 0 ? 1 : 0;
        }
        if (length > 0 && Math.ceilDiv(in, (long) length) == groups) {
            return length;
        }
        throw new FormatException(
                file,
                "'%s' has %d groups for %d inputs, expected groups of %d"
                        .formatted(linear + SCALES, groups, in, said.tiles().width(in)));
    }

    @Override
    public <C extends Codes> GridSpec<C> grid(Encoding.Grid<C> grid, DType modelType) {
        boolean asymmetric = grid.codes() instanceof Codes.Ints ints && !ints.symmetric();
        return new GridSpec<>(grid, DType.F16, asymmetric ? version.less() : 0);
    }

    @Override
    public boolean holds(DType scales) {
        return scales == DType.F16 || scales == DType.BF16;
    }

    @Override
    public DType valueType(TensorReader reader, String linear) {
        return reader.checkpoint().info(linear + SCALES).dtype();
    }

    /// Planes are made of a copy, and a copy of planes.
    @Override
    public long copied(Checkpoint checkpoint, TensorInfo info) {
        return (version == Version.PLANAR ? 3 : 1) * info.byteSize();
    }

    @Override
    public List<String> check(QuantPlan plan) {
        plan.schemes()
                .byLinear()
                .forEach((linear, scheme) -> {
                    if (scheme.inputs().isPresent()) {
                        throw cannotSay(linear, scheme.describe());
                    }
                });
        return List.of();
    }

    private UserException cannotSay(String linear, String what) {
        return new UserException(
                "%s holds integers and leaves inputs as they are, but '%s' is to be %s"
                        .formatted(name(), linear, what),
                "use {save.layout} compressed-tensors");
    }

    @Override
    public List<TensorInfo> plan(LayerPlan layer) {
        String linear = layer.linear();
        if (!(layer.codes() instanceof Codes.Ints codes)) {
            throw cannotSay(linear, layer.grid().grid().describe());
        }
        requireWholeWords(linear, layer.out(), layer.in(), codes);
        long groups = layer.tiles().across(layer.in());
        return List.of(
                TensorInfo.of(linear + CODES, DType.I32, codes.words(layer.in()), layer.out()),
                TensorInfo.of(linear + ZEROS, DType.I32, groups, codes.words(layer.out())),
                TensorInfo.of(linear + SCALES, layer.grid().scaleType(), groups, layer.out()),
                TensorInfo.of(linear + INDEX, DType.I32, layer.in()));
    }

    private void requireWholeWords(String linear, long out, long in, Codes.Ints codes) {
        if (!version.bits().contains(codes.bits())) {
            throw new UserException(
                    "'%s' is to have %d bits, for which %s has no form"
                            .formatted(linear, codes.bits(), name()),
                    "use {save.layout} gptq_p or compressed-tensors");
        }
        int multiple = version.multiple(codes.bits());
        if (out % multiple != 0 || in % multiple != 0) {
            throw new UserException(
                    "'%s' is [%d, %d], but %s with %d bits needs multiples of %d"
                            .formatted(linear, out, in, name(), codes.bits(), multiple),
                    "leave this layer out with {ignore}, or use {save.layout} compressed-tensors");
        }
    }

    @Override
    public SequencedMap<String, Tensor> encode(
            String linear, Weight weight, DType dtype, SegmentAllocator memory) {
        Weight.Grouped w = Groups.grouped(name(), linear, weight);
        Encoding.Grid<Codes.Ints> spec = w.grid();
        requireWholeWords(linear, w.outFeatures(), w.inFeatures(), spec.codes());
        int bits = spec.codes().bits();
        SequencedMap<String, Tensor> tensors = new LinkedHashMap<>();
        tensors.put(
                linear + CODES, Groups.transposed(version.rows(w.codes(), bits, memory), memory));
        tensors.put(linear + ZEROS, version.zeros(linear, w, memory));
        tensors.put(
                linear + SCALES,
                Groups.transposed(Groups.scales(w.scales(), dtype, memory), memory));
        tensors.put(linear + INDEX, Groups.writtenIndex(w, memory));
        return tensors;
    }

    @Override
    public Optional<ObjectNode> quantizationConfig(QuantPlan plan, String toolVersion) {
        return plan.isEmpty()
                ? Optional.empty()
                : Optional.of(GptqConfig.write(plan, version, toolVersion));
    }

    @Override
    public void writeExtraFiles(Path directory, ObjectNode config) {
        Json.write(directory.resolve(Quantization.FILE), config);
    }
}
