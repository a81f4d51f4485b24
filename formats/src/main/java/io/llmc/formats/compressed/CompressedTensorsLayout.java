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
import io.llmc.tensor.Shape;
import io.llmc.tensor.Tensor;
import io.llmc.tensor.Weight;
import java.lang.foreign.SegmentAllocator;
import java.nio.file.Path;
import java.util.List;
import java.util.Optional;
import java.util.OptionalLong;
import java.util.SequencedMap;

/// compressed-tensors: what vLLM and transformers read. Integers are spelled as [PackQuantized]
/// says, small floats as [FloatQuantized] does; each layer belongs to one group of the config.
final class CompressedTensorsLayout implements WeightLayout {
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
                    ".v_scale");

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
    public boolean matches(Checkpoint checkpoint, String linear) {
        boolean packed = checkpoint.has(linear + PackQuantized.PACKED);
        boolean floats =
                checkpoint.has(linear + FloatQuantized.CODES)
                        && checkpoint.info(linear + FloatQuantized.CODES).dtype() == DType.F8_E4M3;
        return (packed || floats)
                && checkpoint.quantized().orElse(null) instanceof CompressedTensorsConfig config
                && !config.groups().isEmpty();
    }

    @Override
    public OptionalLong parameters(TensorReader reader, TensorInfo info) {
        return BESIDE.stream().anyMatch(info.name()::endsWith)
                ? OptionalLong.of(0)
                : PackQuantized.parameters(reader, info);
    }

    private static CompressedTensorsConfig config(TensorReader reader) {
        return (CompressedTensorsConfig) reader.checkpoint().quantized().orElseThrow();
    }

    @Override
    public Weight decode(TensorReader reader, String linear) {
        CompressedTensorsConfig config = config(reader);
        Encoding.Grid<?> grid = config.grid(linear);
        return switch (grid.codes()) {
            case Codes.Ints ints ->
                    PackQuantized.decode(
                            reader,
                            linear,
                            new Encoding.Grid<>(ints, grid.tiles()),
                            config.packsDenseStream());
            case Codes.Floats floats ->
                    FloatQuantized.decode(
                            reader, linear, new Encoding.Grid<>(floats, grid.tiles()));
        };
    }

    @Override
    public Shape require(TensorReader reader, String linear) {
        CompressedTensorsConfig config = config(reader);
        Encoding.Grid<?> grid = config.grid(linear);
        return switch (grid.codes()) {
            case Codes.Ints ints ->
                    PackQuantized.require(
                            reader,
                            linear,
                            new Encoding.Grid<>(ints, grid.tiles()),
                            config.packsDenseStream());
            case Codes.Floats floats ->
                    FloatQuantized.require(
                            reader, linear, new Encoding.Grid<>(floats, grid.tiles()));
        };
    }

    @Override
    public <C extends Codes> GridSpec<C> grid(Encoding.Grid<C> grid, DType modelType) {
        return new GridSpec<>(grid, modelType, 0);
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
        return plan.groups().stream().anyMatch(g -> g.solver().groupIndex())
                ? List.of(
                        "actOrder group is being dropped: compressed-tensors 0.19 and later refuse a"
                                + " model with a group index; actOrder static is read by all, and so"
                                + " is layout gptq")
                : List.of();
    }

    @Override
    public List<TensorInfo> plan(LayerPlan layer) {
        return switch (layer.codes()) {
            case Codes.Ints codes -> PackQuantized.plan(layer, codes);
            case Codes.Floats _ -> FloatQuantized.plan(layer);
        };
    }

    @Override
    public SequencedMap<String, Tensor> encode(
            String linear, Weight weight, DType dtype, SegmentAllocator memory) {
        return switch (weight) {
            case Weight.Grouped w -> PackQuantized.encode(linear, w, dtype, memory);
            case Weight.Scaled w -> FloatQuantized.encode(linear, w, dtype, memory);
            case Weight.Dense _, Weight.Blocks _ -> throw Groups.notPacked(name(), linear, weight);
        };
    }

    @Override
    public Optional<ObjectNode> quantizationConfig(QuantPlan plan, String toolVersion) {
        return plan.isEmpty()
                ? Optional.empty()
                : Optional.of(CompressedTensorsEntries.config(plan));
    }

    @Override
    public void writeExtraFiles(Path directory, QuantPlan plan, String toolVersion) {
        // Everything is in config.json.
    }
}
