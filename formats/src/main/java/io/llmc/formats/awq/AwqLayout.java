// SPDX-License-Identifier: Apache-2.0
package io.llmc.formats.awq;

import com.fasterxml.jackson.databind.node.ObjectNode;
import io.llmc.formats.BitStream;
import io.llmc.formats.Dequantizer;
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
import io.llmc.tensor.Scheme;
import io.llmc.tensor.Shape;
import io.llmc.tensor.Tensor;
import io.llmc.tensor.Weight;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.SegmentAllocator;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Optional;
import java.util.OptionalLong;
import java.util.SequencedMap;
import java.util.stream.Stream;

/// AWQ (Lin et al., 2023, https://arxiv.org/abs/2306.00978) as AutoAWQ's `gemm` version spells it.
///
/// | tensor | |
/// |---|---|
/// | `qweight` | I32 `[in, out/8]`, eight outputs a word: see [AwqWords] |
/// | `qzeros` | I32 `[groups, out/8]`, likewise; zero points as they are |
/// | `scales` | F16 `[groups, out]` |
///
/// Its kernels compute in F16. Scales of another type, as GPTQModel writes them for models of BF16,
/// are rounded to that when they are read, and so are the weights that they make.
final class AwqLayout implements WeightLayout {
    private static final String CODES = ".qweight";
    private static final String ZEROS = ".qzeros";
    private static final String SCALES = ".scales";

    @Override
    public String name() {
        return "awq";
    }

    @Override
    public boolean packs() {
        return true;
    }

    @Override
    public boolean matches(Checkpoint checkpoint, String linear) {
        return checkpoint.has(linear + CODES)
                && checkpoint.quantized().orElse(null) instanceof AwqConfig;
    }

    @Override
    public Optional<ScalesAt> scales(Checkpoint checkpoint, String linear) {
        return Optional.of(new ScalesAt(linear + SCALES, true));
    }

    @Override
    public OptionalLong parameters(TensorReader reader, TensorInfo info) {
        if (info.name().endsWith(CODES)) {
            return OptionalLong.of(info.shape().size() * AwqWords.PER_WORD);
        }
        boolean beside = Stream.of(ZEROS, SCALES).anyMatch(info.name()::endsWith);
        return beside ? OptionalLong.of(0) : OptionalLong.empty();
    }

    /// Everything of a weight; codes as they are in the file.
    private record Parts(
            Encoding.Grid<Codes.Ints> grid,
            long out,
            long in,
            Tensor codes,
            Tensor scales,
            Tensor zeros) {}

    @Override
    public Weight decode(TensorReader reader, String linear) {
        Parts p = parts(reader, linear);
        Tensor codes =
                Dequantizer.allocate(reader.arena(), DType.I32, p.out, p.grid.codes().words(p.in));
        AwqWords.unpack(codes, p.codes);
        return new Weight.Grouped(
                Groups.withZeros(p.grid, p.zeros), p.in, codes, p.scales, p.zeros, null);
    }

    @Override
    public Shape require(TensorReader reader, String linear) {
        Parts p = parts(reader, linear);
        return new Shape(p.out, p.in);
    }

    private static Parts parts(TensorReader reader, String linear) {
        Checkpoint checkpoint = reader.checkpoint();
        Path file = checkpoint.file(linear + CODES);
        AwqConfig config = (AwqConfig) checkpoint.quantized().orElseThrow();
        TensorInfo packed = checkpoint.info(linear + CODES);
        if (packed.shape().rank() != 2 || packed.shape().size() == 0) {
            throw new FormatException(file, packed + ", expected a matrix");
        }
        long in = packed.shape().dim(0);
        long words = packed.shape().dim(1);
        long out = Math.multiplyExact(words, (long) AwqWords.PER_WORD);
        Encoding.Grid<Codes.Ints> grid = config.grid();
        if (in % grid.tiles().width(in) != 0) {
            throw new FormatException(
                    file,
                    "the %d inputs of '%s' are no whole groups of %d"
                            .formatted(in, linear, grid.tiles().cols()));
        }
        long groups = grid.tiles().across(in);
        Tensor codes = reader.tensor(linear + CODES, DType.I32, in, words);
        Tensor zeros = Dequantizer.allocate(reader.arena(), DType.U8, out, groups);
        AwqWords.unpackZeros(zeros, reader.tensor(linear + ZEROS, DType.I32, groups, words));
        Tensor scales = scales(reader, linear, groups, out);
        MemorySegment bytes = codes.bytes();
        Groups.requireScaled(
                file,
                linear + SCALES,
                scales,
                grid,
                in,
                null,
                (o, i) ->
                        AwqWords.get(
                                bytes.getAtIndex(BitStream.WORD, i * words + o / AwqWords.PER_WORD),
                                o));
        return new Parts(grid, out, in, codes, scales, zeros);
    }

    /// F16 `[out, groups]`
    private static Tensor scales(TensorReader reader, String linear, long groups, long out) {
        String name = linear + SCALES;
        DType stored = reader.checkpoint().info(name).dtype();
        Tensor scales =
                Groups.scales(
                        reader.tensor(name, stored.isFloat() ? stored : DType.F16, groups, out),
                        DType.F16,
                        reader.arena());
        Groups.requireFinite(reader.checkpoint().file(name), name, scales);
        return Groups.transposed(scales, reader.arena());
    }

    @Override
    public <C extends Codes> GridSpec<C> grid(Encoding.Grid<C> grid, DType modelType) {
        return new GridSpec<>(grid, DType.F16, 0);
    }

    @Override
    public boolean holds(DType scales) {
        return scales == DType.F16;
    }

    @Override
    public DType valueType(TensorReader reader, String linear) {
        return DType.F16;
    }

    @Override
    public List<String> check(QuantPlan plan) {
        if (plan.conv1d() && !plan.isEmpty()) {
            throw new UserException(
                    "no reader of awq loads the Conv1D layers of " + plan.modelType(),
                    "pass {save.layout} gptq or {save.layout} dense");
        }
        plan.schemes().byLinear().forEach(AwqLayout::requireWeights);
        AwqConfig.check(plan);
        plan.groups().stream()
                .filter(g -> g.solver().groupIndex())
                .findFirst()
                .ifPresent(g -> {
                    throw new UserException(
                            "awq has no place for a group index, which '%s' is to have"
                                    .formatted(g.linears().getFirst()),
                            "use {actOrder} static, or {save.layout} gptq");
                });
        return plan.groups().stream().allMatch(g -> asymmetric(g.scheme()))
                ? List.of()
                : List.of(
                        "vLLM's fast kernel for awq wants zero points: symmetric weights run on a"
                                + " slower one, in F16 only; zero points, or another layout, are"
                                + " faster there");
    }

    private static boolean asymmetric(Scheme scheme) {
        return scheme.weights() instanceof Encoding.Grid<?>(Codes.Ints ints, _, _)
                && !ints.symmetric();
    }

    private static void requireWeights(String linear, Scheme scheme) {
        boolean fits =
                scheme.inputs().isEmpty()
                        && scheme.weights() instanceof Encoding.Grid<?>(Codes.Ints ints, _, _)
                        && ints.bits() == AwqConfig.BITS;
        if (!fits) {
            throw new UserException(
                    "awq holds integers of 4 bits and leaves inputs as they are, but '%s' is to be %s"
                            .formatted(linear, scheme.describe()),
                    "use {save.layout} compressed-tensors");
        }
    }

    @Override
    public List<TensorInfo> plan(LayerPlan layer) {
        requireWeights(layer.linear(), layer.scheme());
        requireWholeWords(layer.linear(), layer.out(), layer.in(), layer.tiles().width(layer.in()));
        long groups = layer.tiles().across(layer.in());
        long words = layer.out() / AwqWords.PER_WORD;
        return List.of(
                TensorInfo.of(layer.linear() + CODES, DType.I32, layer.in(), words),
                TensorInfo.of(layer.linear() + ZEROS, DType.I32, groups, words),
                TensorInfo.of(
                        layer.linear() + SCALES, layer.grid().scaleType(), groups, layer.out()));
    }

    private static void requireWholeWords(String linear, long out, long in, long group) {
        if (out % AwqWords.PER_WORD != 0 || in % group != 0) {
            throw new UserException(
                    "'%s' is [%d, %d], but awq needs a multiple of 8 outputs and inputs in whole groups of %d"
                            .formatted(linear, out, in, group),
                    "leave this layer out with {ignore}, or use {save.layout} compressed-tensors");
        }
    }

    @Override
    public SequencedMap<String, Tensor> encode(
            String linear, Weight weight, DType dtype, SegmentAllocator memory) {
        Weight.Grouped w = Groups.grouped(name(), linear, weight);
        requireWeights(linear, Scheme.of(w.grid()));
        requireWholeWords(
                linear, w.outFeatures(), w.inFeatures(), w.grid().tiles().width(w.inFeatures()));
        if (w.groupIndex() != null) {
            throw new UserException(
                    "'%s' has a group index, for which awq has no place".formatted(linear),
                    "use {save.layout} gptq");
        }
        long words = w.outFeatures() / AwqWords.PER_WORD;
        Tensor codes = Dequantizer.allocate(memory, DType.I32, w.inFeatures(), words);
        AwqWords.pack(codes, w.codes());
        Tensor zeros = Dequantizer.allocate(memory, DType.I32, w.zeros().cols(), words);
        AwqWords.packZeros(zeros, w.zeros());
        SequencedMap<String, Tensor> tensors = new LinkedHashMap<>();
        tensors.put(linear + CODES, codes);
        tensors.put(linear + ZEROS, zeros);
        tensors.put(
                linear + SCALES,
                Groups.transposed(Groups.scales(w.scales(), dtype, memory), memory));
        return tensors;
    }

    @Override
    public Optional<ObjectNode> quantizationConfig(QuantPlan plan, String toolVersion) {
        return plan.isEmpty() ? Optional.empty() : Optional.of(AwqConfig.write(plan, toolVersion));
    }

    /// `quantize_config.json`, where vLLM and GPTQModel look, too.
    @Override
    public void writeExtraFiles(Path directory, ObjectNode config) {
        Json.write(directory.resolve(Quantization.FILE), config);
    }
}
