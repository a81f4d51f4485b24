// SPDX-License-Identifier: Apache-2.0
package io.llmc.formats.bitsandbytes;

import com.fasterxml.jackson.databind.node.ObjectNode;
import io.llmc.formats.GridSpec;
import io.llmc.formats.LayerPlan;
import io.llmc.formats.TensorInfo;
import io.llmc.formats.UserException;
import io.llmc.formats.checkpoint.Checkpoint;
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

/// bitsandbytes: [FourBits] or [EightBits] a weight, read as the plain values that they stand for.
final class BitsAndBytesLayout implements WeightLayout {
    private static final List<String> BESIDE =
            List.of(
                    ".SCB",
                    ".weight_format",
                    ".weight.absmax",
                    ".weight.quant_map",
                    ".weight.nested_absmax",
                    ".weight.nested_quant_map",
                    ".weight.quant_state.bitsandbytes__nf4",
                    ".weight.quant_state.bitsandbytes__fp4");

    @Override
    public String name() {
        return "bitsandbytes";
    }

    @Override
    public boolean packs() {
        return true;
    }

    @Override
    public boolean writes() {
        return false;
    }

    @Override
    public boolean matches(Checkpoint checkpoint, String linear) {
        return checkpoint.has(linear + ".weight")
                && (EightBits.matches(checkpoint, linear)
                        || FourBits.state(checkpoint, linear).isPresent())
                && checkpoint.quantized().orElse(null) instanceof BitsAndBytes.Config;
    }

    @Override
    public Weight decode(TensorReader reader, String linear) {
        return EightBits.matches(reader.checkpoint(), linear)
                ? EightBits.of(reader, linear).values(reader)
                : FourBits.of(reader, linear).values(reader);
    }

    @Override
    public Shape require(TensorReader reader, String linear) {
        return EightBits.matches(reader.checkpoint(), linear)
                ? EightBits.of(reader, linear).codes().shape()
                : FourBits.of(reader, linear).shape();
    }

    @Override
    public OptionalLong parameters(TensorReader reader, TensorInfo info) {
        if (BESIDE.stream().anyMatch(info.name()::endsWith)) {
            return OptionalLong.of(0);
        }
        boolean halves =
                info.name().endsWith(".weight")
                        && FourBits.state(
                                        reader.checkpoint(),
                                        info.name()
                                                .substring(
                                                        0,
                                                        info.name().length() - ".weight".length()))
                                .isPresent();
        return halves ? OptionalLong.of(2 * info.shape().size()) : OptionalLong.empty();
    }

    /// Plain values: four bytes each at most, of a byte or half a byte.
    @Override
    public long copied(Checkpoint checkpoint, TensorInfo info) {
        return info.name().endsWith(".weight") ? 8 * info.byteSize() : 0;
    }

    @Override
    public <C extends Codes> GridSpec<C> grid(Encoding.Grid<C> grid, DType modelType) {
        return new GridSpec<>(grid, DType.F32, 0);
    }

    @Override
    public DType valueType(TensorReader reader, String linear) {
        return EightBits.matches(reader.checkpoint(), linear)
                ? DType.F32
                : FourBits.of(reader, linear).type();
    }

    private UserException readOnly() {
        return new UserException(
                "llmc reads bitsandbytes, but does not write it: there are better ways to round with the original at hand",
                "use {save.layout} compressed-tensors, or --layout dense for plain values");
    }

    @Override
    public List<String> check(QuantPlan plan) {
        throw readOnly();
    }

    @Override
    public List<TensorInfo> plan(LayerPlan layer) {
        throw readOnly();
    }

    @Override
    public SequencedMap<String, Tensor> encode(
            String linear, Weight weight, DType dtype, SegmentAllocator memory) {
        throw readOnly();
    }

    @Override
    public Optional<ObjectNode> quantizationConfig(QuantPlan plan, String toolVersion) {
        throw readOnly();
    }

    @Override
    public void writeExtraFiles(Path directory, ObjectNode config) {
        throw readOnly();
    }
}
