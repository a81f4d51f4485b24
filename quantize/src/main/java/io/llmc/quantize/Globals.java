// SPDX-License-Identifier: Apache-2.0
package io.llmc.quantize;

import io.llmc.backend.Desk;
import io.llmc.backend.SmallFloatOp;
import io.llmc.formats.UserException;
import io.llmc.model.BodySpec;
import io.llmc.model.LayerSpec;
import io.llmc.model.Linear;
import io.llmc.pipeline.pass.BlockScope;
import io.llmc.tensor.Encoding;
import io.llmc.tensor.ScaleKind;
import io.llmc.tensor.Tensor;
import io.llmc.tensor.Tiles;
import io.llmc.tensor.Weight;
import java.util.HashMap;
import java.util.List;
import java.util.Map;

/// What the nested scales of a block's layers are divided by. Layers that engines load as one share
/// it, that of the largest weight among those that are rounded together.
final class Globals {
    private final Map<String, Tensor> byLayer;

    private Globals(Map<String, Tensor> byLayer) {
        this.byLayer = byLayer;
    }

    /// @param layers all that the pass rounds in this block, still dense
    static Globals of(BlockScope scope, List<Linear> layers, Encoding encoding) {
        Map<String, Tensor> globals = new HashMap<>();
        if (!(encoding instanceof Encoding.Grid<?> grid) || grid.scales() != ScaleKind.NESTED) {
            return new Globals(globals);
        }
        Map<String, Float> largest = new HashMap<>();
        for (Linear layer : layers) {
            largest.put(layer.name(), largest(scope.desk(), layer));
        }
        LayerSpec spec = scope.spec().layers().get(scope.index());
        for (Linear layer : layers) {
            float most = largest.get(layer.name());
            for (String other : together(spec, layer.name())) {
                most = Math.max(most, largest.getOrDefault(other, 0f));
            }
            globals.put(layer.name(), global(scope.desk(), layer, grid, most));
        }
        return new Globals(globals);
    }

    /// F32 `[1]`; null where scales are not nested.
    Tensor get(Linear layer) {
        return byLayer.get(layer.name());
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
