// SPDX-License-Identifier: Apache-2.0
package io.llmc.formats.checkpoint;

import com.fasterxml.jackson.databind.node.ObjectNode;
import io.llmc.formats.Dequantizer;
import io.llmc.formats.FormatException;
import io.llmc.formats.GridSpec;
import io.llmc.formats.LayerPlan;
import io.llmc.formats.TensorInfo;
import io.llmc.tensor.Codes;
import io.llmc.tensor.DType;
import io.llmc.tensor.Encoding;
import io.llmc.tensor.Shape;
import io.llmc.tensor.Tensor;
import io.llmc.tensor.Weight;
import java.lang.foreign.SegmentAllocator;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Optional;
import java.util.OptionalLong;
import java.util.SequencedMap;

/// A plain matrix: `<linear>.weight` F32, F16 or BF16 `[out, in]`. Packed weights are written as
/// the values that they stand for, for readers that know no packing.
final class DenseLayout implements WeightLayout {
    private static final String WEIGHT = ".weight";

    @Override
    public String name() {
        return "dense";
    }

    @Override
    public boolean matches(Checkpoint checkpoint, String linear) {
        return checkpoint.has(linear + WEIGHT);
    }

    @Override
    public Weight decode(TensorReader reader, String linear) {
        require(reader, linear);
        return reader.matrix(linear + WEIGHT);
    }

    @Override
    public Shape require(TensorReader reader, String linear) {
        TensorInfo info = reader.checkpoint().info(linear + WEIGHT);
        if (!info.dtype().isFloat() || info.shape().rank() != 2) {
            throw new FormatException(
                    reader.checkpoint().file(info.name()),
                    info + ", expected a matrix of F32, F16 or BF16");
        }
        return info.shape();
    }

    @Override
    public OptionalLong parameters(TensorReader reader, TensorInfo info) {
        return OptionalLong.empty();
    }

    @Override
    public boolean packs() {
        return false;
    }

    /// Scales are not written, so nothing is lost of them.
    @Override
    public <C extends Codes> GridSpec<C> grid(Encoding.Grid<C> grid, DType modelType) {
        return new GridSpec<>(grid, DType.F32, 0);
    }

    @Override
    public List<String> check(QuantPlan plan) {
        return List.of();
    }

    @Override
    public List<TensorInfo> plan(LayerPlan layer) {
        return List.of(
                TensorInfo.of(
                        layer.linear() + WEIGHT,
                        layer.grid().scaleType(),
                        layer.out(),
                        layer.in()));
    }

    @Override
    public SequencedMap<String, Tensor> encode(
            String linear, Weight weight, DType dtype, SegmentAllocator memory) {
        SequencedMap<String, Tensor> tensors = new LinkedHashMap<>();
        tensors.put(linear + WEIGHT, Dequantizer.values(weight, dtype, memory));
        return tensors;
    }

    @Override
    public Optional<ObjectNode> quantizationConfig(QuantPlan plan, String toolVersion) {
        return Optional.empty();
    }

    @Override
    public void writeExtraFiles(Path directory, ObjectNode config) {
        // A dense model has none.
    }
}
