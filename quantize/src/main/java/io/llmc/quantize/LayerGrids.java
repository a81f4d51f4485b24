// SPDX-License-Identifier: Apache-2.0
package io.llmc.quantize;

import io.llmc.backend.Desk;
import io.llmc.backend.SmallFloatOp;
import io.llmc.formats.UserException;
import io.llmc.model.BodySpec;
import io.llmc.model.LayerSpec;
import io.llmc.model.Linear;
import io.llmc.pipeline.pass.BlockScope;
import io.llmc.tensor.DType;
import io.llmc.tensor.Encoding;
import io.llmc.tensor.InputRounding;
import io.llmc.tensor.ScaleKind;
import io.llmc.tensor.Scheme;
import io.llmc.tensor.Tensor;
import io.llmc.tensor.Tiles;
import io.llmc.tensor.Weight;
import java.util.HashMap;
import java.util.List;
import java.util.Map;

/// The grids of a block's layers under one scheme, and how layers get what was found on them.
///
/// Nested scales are divided by one number for each layer. Layers that engines load as one share
/// it, that of the largest weight among those that are rounded together.
final class LayerGrids {
    private final BlockScope scope;
    private final Scheme scheme;
    private final Map<String, Tensor> globals = new HashMap<>();

    /// @param scheme whose weights are on a grid
    LayerGrids(BlockScope scope, Scheme scheme) {
        this.scope = scope;
        this.scheme = scheme;
        if (spec().scales() != ScaleKind.NESTED) {
            return;
        }
        List<Linear> layers =
                scope.stages().stream()
                        .flatMap(s -> s.linears().stream())
                        .filter(scope::selected)
                        .toList();
        Map<String, Float> largest = new HashMap<>();
        for (Linear layer : layers) {
            largest.put(layer.name(), largest(scope.desk(), layer));
        }
        LayerSpec block = scope.spec().layers().get(scope.index());
        for (Linear layer : layers) {
            float most = largest.get(layer.name());
            for (String other : together(block, layer.name())) {
                most = Math.max(most, largest.getOrDefault(other, 0f));
            }
            globals.put(layer.name(), global(scope.desk(), layer, spec(), most));
        }
    }

    private Encoding.Grid<?> spec() {
        return (Encoding.Grid<?>) scheme.weights();
    }

    /// A grid for a layer that is still dense.
    WeightGrid of(Linear layer) {
        if (!(layer.weight() instanceof Weight.Dense)) {
            throw new IllegalArgumentException(layer.name() + " is already on a grid");
        }
        return WeightGrid.allocate(
                scope.desk(), scope.grid(layer, spec()), layer.weight(), globals.get(layer.name()));
    }

    /// Gives a layer its weight, and what its inputs are rounded with.
    ///
    /// @param largest input that calibration saw; of no meaning where nothing is made of it
    void replace(Linear layer, Weight weight, float largest) {
        DType type = scope.grid(layer, spec()).scaleType();
        InputRounding rounding =
                scheme.inputs()
                        .map(inputs ->
                                InputRange.rounding(
                                        scope.desk(), layer.name(), inputs, largest, type))
                        .orElse(null);
        scope.replace(layer, weight, rounding);
    }

    private static List<String> together(LayerSpec spec, String layer) {
        return spec.bodies()
                .flatMap(body -> body.joints().stream())
                .map(BodySpec.Joint::linears)
                .filter(names -> names.contains(layer))
                .findFirst()
                .orElse(List.of());
    }

    private static float largest(Desk d, Linear layer) {
        if (!(layer.weight() instanceof Weight.Dense(Tensor w))) {
            throw new IllegalArgumentException(layer.name() + " is already on a grid");
        }
        try (Desk scratch = d.fresh(4096)) {
            Tensor most = scratch.f32(1, 1);
            d.run(new SmallFloatOp.TileMaxima(most, w, Tiles.TENSOR));
            return d.backend().floats(most)[0];
        }
    }

    private static Tensor global(Desk d, Linear layer, Encoding.Grid<?> grid, float most) {
        float global = most == 0 ? 1 : grid.global(most, layer.weight().valueType());
        if (!(global > 0) || global == Float.POSITIVE_INFINITY) {
            throw new UserException(
                    "%s: its largest weight is %s, which gives %s as global scale"
                            .formatted(layer.name(), most, global),
                    "look at the weights, or leave the layer out by {targets}");
        }
        return d.floats(global);
    }
}
