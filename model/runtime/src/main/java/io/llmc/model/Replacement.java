// SPDX-License-Identifier: Apache-2.0
package io.llmc.model;

import io.llmc.tensor.InputRounding;
import io.llmc.tensor.Tensor;
import io.llmc.tensor.Weight;
import java.nio.file.Path;
import java.util.HashMap;
import java.util.Map;
import java.util.Optional;

/// A block's parameters with some of them replaced or added: what becomes of a block whose sizes
/// change.
public final class Replacement implements Parameters {
    private final Path place;
    private final Map<String, Weight> weights = new HashMap<>();
    private final Map<String, InputRounding> roundings = new HashMap<>();
    private final Map<String, Tensor> tensors = new HashMap<>();

    /// @param place what to name where a shape is wrong
    public Replacement(DecoderBlock block, Path place) {
        this.place = place;
        for (Linear linear : block.linears()) {
            weights.put(linear.name(), linear.weight());
            roundings.put(linear.name(), linear.rounding());
        }
        tensors.putAll(block.parameters());
    }

    /// @param linear without `.weight`
    public void put(String linear, Weight weight) {
        weights.put(linear, weight);
    }

    /// @param name as in the checkpoint
    public void put(String name, Tensor tensor) {
        tensors.put(name, tensor);
    }

    public boolean has(String name) {
        return tensors.containsKey(name);
    }

    @Override
    public Weight weight(String linear) {
        Weight weight = weights.get(linear);
        return weight != null ? weight : new Weight.Dense(tensors.get(linear + ".weight"));
    }

    @Override
    public Optional<InputRounding> rounding(String linear) {
        return Optional.ofNullable(roundings.get(linear));
    }

    @Override
    public Tensor tensor(String name) {
        return tensors.get(name);
    }

    @Override
    public Path place() {
        return place;
    }
}
