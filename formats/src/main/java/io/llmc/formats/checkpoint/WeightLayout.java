// SPDX-License-Identifier: Apache-2.0
package io.llmc.formats.checkpoint;

import com.fasterxml.jackson.databind.node.ObjectNode;
import io.llmc.formats.FormatException;
import io.llmc.formats.GridSpec;
import io.llmc.formats.LayerPlan;
import io.llmc.formats.TensorInfo;
import io.llmc.formats.UserException;
import io.llmc.tensor.Codes;
import io.llmc.tensor.DType;
import io.llmc.tensor.Encoding;
import io.llmc.tensor.InputRounding;
import io.llmc.tensor.Scheme;
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

/// How a linear layer's weight is spelled on disk. Encoding what was decoded gives the same bytes.
public interface WeightLayout {
    /// `compressed-tensors`, `gptq`, `gptq_v2`, `gptq_p`, `awq` or `dense`
    String name();

    /// Whether this layout holds the weight of `linear`.
    boolean matches(Checkpoint checkpoint, String linear);

    /// @throws FormatException where the tensors do not fit together
    Weight decode(TensorReader reader, String linear);

    /// Looks for everything that [#decode] would refuse, at the price of reading scales, zero
    /// points and group indices, which are small.
    ///
    /// @return out, in
    /// @throws FormatException where the tensors do not fit together
    Shape require(TensorReader reader, String linear);

    /// Numbers of the model that a tensor stands for: 0 for one that stands beside codes.
    ///
    /// @return empty where it is none of this layout's own
    OptionalLong parameters(TensorReader reader, TensorInfo info);

    /// Whether readers of it look for a packed output layer.
    default boolean packsHead() {
        return false;
    }

    /// Whether readers of it look for a packed token embedding.
    default boolean packsEmbedding() {
        return false;
    }

    /// Whether it has a place for how keys and values are cached.
    default boolean caches() {
        return false;
    }

    /// Whether weights can be written this way; else it is for reading alone.
    default boolean writes() {
        return true;
    }

    /// Bytes that [#decode] takes for a stored tensor beside those that it has, at most: by default
    /// what lies under other names than a plain weight's is copied once.
    default long copied(Checkpoint checkpoint, TensorInfo info) {
        return info.name().endsWith(".weight") ? 0 : info.byteSize();
    }

    /// Whether codes stay codes; otherwise weights are written as the values that they stand for.
    boolean packs();

    /// A grid as weights must lie on it to be written this way.
    ///
    /// @param modelType of the model's own weights
    <C extends Codes> GridSpec<C> grid(Encoding.Grid<C> grid, DType modelType);

    /// Whether scales of a type can be stored as they are; those of others are rounded.
    default boolean holds(DType scales) {
        return true;
    }

    /// The type of the values that [#decode] gives, or that its codes and scales stand for.
    default DType valueType(TensorReader reader, String linear) {
        return decode(reader, linear).valueType();
    }

    /// Looks at everything that is to be written, before any work.
    ///
    /// @return sentences that the user should see
    /// @throws UserException where this layout cannot say it
    List<String> check(QuantPlan plan);

    /// Where the scales of a packed layer stand.
    ///
    /// @param tensor its name
    /// @param turned whether it is `[groups, out]`
    record ScalesAt(String tensor, boolean turned) {}

    /// The tensor that has exactly the scales of a layer of integers, a number for each; empty
    /// where there is none.
    ///
    /// @param linear of this layout
    default Optional<ScalesAt> scales(Checkpoint checkpoint, String linear) {
        return Optional.empty();
    }

    /// How the inputs of a layer that is packed are rounded, with the numbers that the file has for
    /// it.
    ///
    /// @throws FormatException where these are missing or make no sense
    default Optional<InputRounding> rounding(TensorReader reader, String linear) {
        return reader.checkpoint()
                .scheme(linear)
                .flatMap(Scheme::inputs)
                .map(InputRounding::dynamic);
    }

    /// What [#encode] will produce, known before any weight is read.
    ///
    /// @throws UserException where a weight of these sizes cannot be spelled this way
    List<TensorInfo> plan(LayerPlan layer);

    /// Names to host tensors, exactly as planned with `dtype`, to which scales or dense values are
    /// rounded where they have another. Tensors may be those of `weight` where the bytes are equal.
    ///
    /// @throws UserException where the weight cannot be spelled this way
    SequencedMap<String, Tensor> encode(
            String linear, Weight weight, DType dtype, SegmentAllocator memory);

    /// The same for a layer whose inputs are rounded, where a spelling depends on that.
    ///
    /// @param scheme of the layer, on whose grid `weight` lies
    default SequencedMap<String, Tensor> encode(
            String linear, Weight weight, Scheme scheme, DType dtype, SegmentAllocator memory) {
        return encode(linear, weight, dtype, memory);
    }

    /// What a layer's rounded inputs need beside its weight; nothing where their scales are made of
    /// the inputs at hand.
    ///
    /// @param rounding in host memory
    default SequencedMap<String, Tensor> encode(
            String linear, InputRounding rounding, SegmentAllocator memory) {
        return new LinkedHashMap<>();
    }

    /// As [#encode(String, Weight, DType, SegmentAllocator)] with the type that the scales, or the
    /// dense values, have.
    default SequencedMap<String, Tensor> encode(
            String linear, Weight weight, SegmentAllocator memory) {
        return encode(linear, weight, weight.valueType(), memory);
    }

    /// The value of `quantization_config` in `config.json`; empty for a dense layout.
    Optional<ObjectNode> quantizationConfig(QuantPlan plan, String toolVersion);

    /// Writes what this layout has beside weights and `config.json`.
    ///
    /// @param config the `quantization_config`
    void writeExtraFiles(Path directory, ObjectNode config);
}
