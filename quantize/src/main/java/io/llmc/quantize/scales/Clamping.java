// SPDX-License-Identifier: Apache-2.0
package io.llmc.quantize.scales;

import io.llmc.backend.CompressionOp;
import io.llmc.backend.Desk;
import io.llmc.backend.ForwardOp;
import io.llmc.model.BodySpec;
import io.llmc.model.Linear;
import io.llmc.model.Stage;
import io.llmc.pipeline.pass.BlockScope;
import io.llmc.pipeline.pass.Sample;
import io.llmc.tensor.Codes;
import io.llmc.tensor.Encoding;
import io.llmc.tensor.Tensor;
import io.llmc.tensor.Weight;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/// Clamps the weights of each group of a block's layers on grids of small floats, where a shorter
/// range costs less than the finer grid gains. Queries and keys are left alone: a layer's own
/// output says little of what becomes of their products. Ranges of integers are for whoever rounds
/// to search, who knows which there are: docs/adr/0034-ranges-by-outputs.md.
final class Clamping {
    private Clamping() {}

    /// Whether it has limits for weights of this encoding.
    static boolean clamps(Encoding encoding) {
        return encoding instanceof Encoding.Grid<?> g && g.codes() instanceof Codes.Floats;
    }

    /// @param tokens of the sample, and most inputs of a layer that count
    static void clamp(BlockScope scope, int tokens) {
        List<String> scoring =
                scope.block().spec().bodies().map(BodySpec::scoring).flatMap(List::stream).toList();
        try (Sample sample = scope.sample(tokens)) {
            for (Stage stage : scope.stages()) {
                Map<Linear, Tensor> clamped = new LinkedHashMap<>();
                sample.observe(
                        stage,
                        (layers, x) -> {
                            for (Linear layer : layers) {
                                if (!scoring.contains(layer.name())) {
                                    ChannelScales.grid(scope, layer)
                                            .filter(Clamping::clamps)
                                            .ifPresent(g ->
                                                    clamped.put(
                                                            layer,
                                                            clamped(scope, layer, x, g, tokens)));
                                }
                            }
                        });
                clamped.forEach((layer, w) -> scope.replace(layer, new Weight.Dense(w)));
                sample.advance(stage);
            }
        }
    }

    private static Tensor clamped(
            BlockScope scope, Linear layer, Tensor x, Encoding.Grid<?> grid, int tokens) {
        Tensor w = ChannelScales.dense(layer);
        long groups = grid.tiles().across(w.cols());
        Tensor out = scope.desk().f32(w.rows(), w.cols());
        long rows = Math.min(tokens, x.rows());
        try (Desk d = scope.desk().fresh(heldBytes(w.rows(), w.cols(), groups, rows))) {
            Tensor some = ChannelScales.rows(d, x, tokens);
            Tensor wide = d.f32(w.rows(), w.cols());
            Tensor limits = d.f32(w.rows(), groups);
            d.run(new ForwardOp.Scale(wide, w, 1));
            AwqMath.limits(d, limits, wide, some, grid, AwqMath.Shrinking.DEFAULT);
            d.run(new CompressionOp.Clamp(out, wide, limits));
        }
        return out;
    }

    private static long heldBytes(long out, long in, long groups, long rows) {
        return 4 * (out * in + out * groups + rows * in) + 2048;
    }

    /// Bytes that it takes for one layer.
    ///
    /// @param grid what it [#clamps]
    static long layerBytes(long out, long in, Encoding grid, int tokens) {
        var tiles = ((Encoding.Grid<?>) grid).tiles();
        return heldBytes(out, in, tiles.across(in), tokens)
                + AwqMath.limitBytes(out, in, tiles.width(in), tokens);
    }
}
