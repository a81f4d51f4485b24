// SPDX-License-Identifier: Apache-2.0
package io.llmc.formats;

import com.fasterxml.jackson.databind.node.ObjectNode;
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
    public List<TensorInfo> plan(
            String linear,
            long out,
            long in,
            Encoding.Grid<Codes.Ints> spec,
            DType dtype,
            boolean groupIndex) {
        return List.of(TensorInfo.of(linear + WEIGHT, dtype, out, in));
    }

    @Override
    public SequencedMap<String, Tensor> encode(
            String linear, Weight weight, DType dtype, SegmentAllocator memory) {
        SequencedMap<String, Tensor> tensors = new LinkedHashMap<>();
        tensors.put(linear + WEIGHT, Dequantizer.values(weight, dtype, memory));
        return tensors;
    }

    @Override
    public DType scaleDtype(DType modelDtype) {
        return DType.F32;
    }

    @Override
    public int minZero(Encoding.Grid<Codes.Ints> spec) {
        return 0;
    }

    @Override
    public Optional<ObjectNode> quantizationConfig(QuantSummary summary) {
        return Optional.empty();
    }

    @Override
    public void writeExtraFiles(Path directory, QuantSummary summary) {
        // A dense model has none.
    }
}
