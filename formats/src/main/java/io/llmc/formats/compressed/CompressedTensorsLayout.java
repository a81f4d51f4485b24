// SPDX-License-Identifier: Apache-2.0
package io.llmc.formats.compressed;

import com.fasterxml.jackson.databind.node.ObjectNode;
import io.llmc.formats.GridSpec;
import io.llmc.formats.LayerPlan;
import io.llmc.formats.TensorInfo;
import io.llmc.formats.UserException;
import io.llmc.formats.checkpoint.Checkpoint;
import io.llmc.formats.checkpoint.Groups;
import io.llmc.formats.checkpoint.QuantPlan;
import io.llmc.formats.checkpoint.TensorReader;
import io.llmc.formats.checkpoint.WeightLayout;
import io.llmc.tensor.Codes;
import io.llmc.tensor.DType;
import io.llmc.tensor.Encoding;
import io.llmc.tensor.InputRounding;
import io.llmc.tensor.Scheme;
import io.llmc.tensor.Shape;
import io.llmc.tensor.Tensor;
import io.llmc.tensor.Tiles;
import io.llmc.tensor.Weight;
import java.lang.foreign.SegmentAllocator;
import java.nio.file.Path;
import java.util.List;
import java.util.Optional;
import java.util.OptionalLong;
import java.util.SequencedMap;
import java.util.stream.Stream;

/// compressed-tensors: what vLLM and transformers read. Each layer belongs to one group of the
/// config, whose [Format] says which tensors hold it.
record CompressedTensorsLayout() implements WeightLayout {
    /// What stands beside weights in any of the library's formats.
    private static final List<String> BESIDE =
            List.of(
                    ".weight_scale",
                    ".weight_scale_inv",
                    ".weight_zero_point",
                    ".weight_global_scale",
                    ".weight_g_idx",
                    ".weight_shape",
                    ".input_scale",
                    ".input_zero_point",
                    ".input_global_scale",
                    ".output_scale",
                    ".k_scale",
                    ".v_scale",
                    ".q_scale");

    @Override
    public String name() {
        return "compressed-tensors";
    }

    @Override
    public boolean packs() {
        return true;
    }

    @Override
    public boolean packsHead() {
        return true;
    }

    @Override
    public boolean packsEmbedding() {
        return true;
    }

    @Override
    public boolean caches() {
        return true;
    }

    @Override
    public boolean matches(Checkpoint c, String linear) {
        if (!(c.quantized().orElse(null) instanceof CompressedTensorsConfig config)) {
            return false;
        }
        boolean packed =
                c.has(linear + Stored.PACKED)
                        || c.has(linear + Stored.CODES)
                                && isByte(c.info(linear + Stored.CODES).dtype());
        return Bitmask.holds(c, linear) || packed && !config.groups().isEmpty();
    }

    @Override
    public Optional<ScalesAt> scales(Checkpoint c, String linear) {
        String name = linear + Stored.SCALE;
        boolean ints =
                c.scheme(linear)
                        .filter(scheme ->
                                scheme.weights() instanceof Encoding.Grid<?> grid
                                        && grid.codes() instanceof Codes.Ints
                                        && !grid.tiles().equals(Tiles.TENSOR))
                        .isPresent();
        return ints && c.has(name) ? Optional.of(new ScalesAt(name, false)) : Optional.empty();
    }

    private static boolean isByte(DType type) {
        return type == DType.F8_E4M3 || type == DType.I8;
    }

    @Override
    public OptionalLong parameters(TensorReader reader, TensorInfo info) {
        Checkpoint c = reader.checkpoint();
        String name = info.name();
        int dot = Math.max(0, name.lastIndexOf('.'));
        String linear = name.substring(0, dot);
        String kind = name.substring(dot);
        if (BESIDE.contains(kind)) {
            return OptionalLong.of(0);
        }
        if (kind.equals(Stored.PACKED)) {
            return c.has(linear + Marlin24.META)
                    ? OptionalLong.of(16 * info.shape().size())
                    : info.dtype() == DType.U8
                            ? OptionalLong.of(2 * info.shape().size())
                            : PackQuantized.parameters(reader, linear);
        }
        boolean beside =
                Bitmask.holds(c, linear) && List.of(Bitmask.VALUES, Bitmask.SHAPE).contains(kind)
                        || c.has(linear + Stored.PACKED)
                                && List.of(Marlin24.SCALE, Marlin24.META).contains(kind);
        if (beside) {
            return OptionalLong.of(0);
        }
        return Bitmask.holds(c, linear) && kind.equals(Bitmask.MASK)
                ? OptionalLong.of(8 * info.shape().size())
                : OptionalLong.empty();
    }

    /// Whether a layer is a plain matrix without its zeros.
    private static boolean isSparse(Checkpoint c, String linear) {
        return Bitmask.holds(c, linear) && c.info(linear + Bitmask.VALUES).dtype().isFloat();
    }

    private static Spelling spelling(Checkpoint c, String linear) {
        return ((CompressedTensorsConfig) c.quantized().orElseThrow()).spelling(linear);
    }

    @Override
    public Weight decode(TensorReader reader, String linear) {
        Checkpoint c = reader.checkpoint();
        if (isSparse(c, linear)) {
            DType type = c.info(linear + Bitmask.VALUES).dtype();
            return new Weight.Dense(Bitmask.expand(reader, linear, type));
        }
        return spelling(c, linear).decode(reader, linear);
    }

    /// That of the scales, or BF16 where they are no plain floats.
    @Override
    public DType valueType(TensorReader reader, String linear) {
        Checkpoint c = reader.checkpoint();
        return Stream.of(Stored.SCALE, Marlin24.SCALE, Bitmask.VALUES)
                .map(kind -> linear + kind)
                .filter(c::has)
                .map(name -> c.info(name).dtype())
                .findFirst()
                .filter(DType::isFloat)
                .orElse(DType.BF16);
    }

    @Override
    public Shape require(TensorReader reader, String linear) {
        Checkpoint c = reader.checkpoint();
        if (isSparse(c, linear)) {
            return Bitmask.require(reader, linear, c.info(linear + Bitmask.VALUES).dtype());
        }
        Shape shape = spelling(c, linear).require(reader, linear);
        rounding(reader, linear);
        return shape;
    }

    @Override
    public Optional<InputRounding> rounding(TensorReader reader, String linear) {
        return reader.checkpoint()
                .scheme(linear)
                .flatMap(Scheme::inputs)
                .map(inputs -> InputNumbers.read(reader, linear, inputs));
    }

    @Override
    public <C extends Codes> GridSpec<C> grid(Encoding.Grid<C> grid, DType modelType) {
        return new GridSpec<>(grid, modelType, 0);
    }

    /// @throws UserException where the format has no place for such weights
    private static Spelling spelling(String linear, Scheme scheme) {
        Encoding.Grid<?> grid = (Encoding.Grid<?>) scheme.weights();
        return Format.of(scheme)
                .spelling(grid, false)
                .orElseThrow(() ->
                        new UserException(
                                "no format of compressed-tensors holds '%s' in %s"
                                        .formatted(linear, scheme.describe()),
                                "choose another scheme, or {save.layout} dense"));
    }

    @Override
    public List<String> check(QuantPlan plan) {
        // Readers look for Linear modules and would leave GPT-2's Conv1D at random.
        if (plan.conv1d() && !plan.isEmpty()) {
            throw new UserException(
                    "no reader of compressed-tensors loads the Conv1D layers of "
                            + plan.modelType(),
                    "pass {save.layout} gptq or {save.layout} dense");
        }
        if (plan.groups().stream().anyMatch(g -> g.solver().groupIndex())) {
            throw new UserException(
                    "groups in the order of activations have an index, which compressed-tensors no longer reads",
                    "use {save.layout} gptq, or quantize with {actOrder} static");
        }
        return List.of();
    }

    @Override
    public List<TensorInfo> plan(LayerPlan layer) {
        String linear = layer.linear();
        List<TensorInfo> weight = spelling(linear, layer.scheme()).plan(layer);
        List<TensorInfo> inputs =
                layer.scheme()
                        .inputs()
                        .map(i -> InputNumbers.plan(linear, i, layer.grid().scaleType()))
                        .orElse(List.of());
        return Stream.concat(weight.stream(), inputs.stream()).toList();
    }

    @Override
    public SequencedMap<String, Tensor> encode(
            String linear, Weight weight, DType dtype, SegmentAllocator memory) {
        return encode(linear, weight, Scheme.of(weight.encoding()), dtype, memory);
    }

    @Override
    public SequencedMap<String, Tensor> encode(
            String linear, Weight weight, Scheme scheme, DType dtype, SegmentAllocator memory) {
        return switch (weight) {
            case Weight.Grouped _, Weight.Scaled _ ->
                    spelling(linear, scheme).encode(linear, weight, dtype, memory);
            case Weight.Dense _, Weight.Blocks _ -> throw Groups.notPacked(name(), linear, weight);
        };
    }

    @Override
    public SequencedMap<String, Tensor> encode(
            String linear, InputRounding rounding, SegmentAllocator memory) {
        return InputNumbers.encode(linear, rounding);
    }

    @Override
    public Optional<ObjectNode> quantizationConfig(QuantPlan plan, String toolVersion) {
        return plan.isEmpty()
                ? Optional.empty()
                : Optional.of(CompressedTensorsEntries.config(plan));
    }

    @Override
    public void writeExtraFiles(Path directory, ObjectNode config) {
        // Everything is in config.json.
    }
}
