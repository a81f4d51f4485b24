// SPDX-License-Identifier: Apache-2.0
package io.llmc.prune;

import io.llmc.backend.ForwardOp;
import io.llmc.model.LayerSpec;
import io.llmc.model.Linear;
import io.llmc.model.Replacement;
import io.llmc.pipeline.BlockScope;
import io.llmc.tensor.Shape;
import io.llmc.tensor.Tensor;
import io.llmc.tensor.Weight;
import java.util.stream.IntStream;

/// Cuts rows and columns out of a block's layers, biases with them.
final class Slices {
    private final BlockScope scope;
    private final LayerSpec layer;
    private final Replacement replacement;

    Slices(BlockScope scope, LayerSpec layer) {
        this.scope = scope;
        this.layer = layer;
        this.replacement = scope.replacement();
    }

    Replacement replacement() {
        return replacement;
    }

    /// Query and KV heads that stay.
    void heads(int[] heads, int[] kvHeads) {
        LayerSpec.AttentionLayer a = layer.attention();
        int[] q = runs(heads, a.headDim(), 0);
        if (a.projections().size() == 1) {
            int[] k = runs(kvHeads, a.headDim(), a.queryWidth());
            int[] v = runs(kvHeads, a.headDim(), a.queryWidth() + a.keyWidth());
            rows(a.projections().getFirst(), concatenated(q, k, v));
            return;
        }
        int[] kv = runs(kvHeads, a.headDim(), 0);
        rows(a.projections().get(0), q);
        rows(a.projections().get(1), kv);
        rows(a.projections().get(2), kv);
    }

    /// The columns of the output projection that stay.
    void output(Tensor columns) {
        replacement.put(layer.attention().output(), new Weight.Dense(columns));
    }

    /// Channels that stay of the feed-forward, or of the expert, that ends in `down`.
    void channels(Linear down, int[] kept, Tensor columns) {
        LayerSpec.Mlp mlp = mlp(down.name());
        if (mlp.gated() && mlp.inputs().size() == 1) {
            int[] up = IntStream.of(kept).map(i -> i + mlp.intermediate()).toArray();
            rows(mlp.inputs().getFirst(), concatenated(kept, up));
        } else {
            mlp.inputs().forEach(name -> rows(name, kept));
        }
        replacement.put(down.name(), new Weight.Dense(columns));
    }

    private LayerSpec.Mlp mlp(String down) {
        return switch (layer.feedForward()) {
            case LayerSpec.Mlp mlp -> mlp;
            case LayerSpec.Experts e ->
                    e.experts().stream()
                            .filter(x -> x.down().equals(down))
                            .findFirst()
                            .orElseThrow();
        };
    }

    private void rows(String linear, int[] rows) {
        Tensor w = Sparse.values(scope.desk(), replacement.weight(linear));
        Tensor index = scope.desk().ints(rows);
        Tensor cut = scope.arena().allocate(w.dtype(), new Shape(rows.length, w.cols()));
        scope.run(new ForwardOp.GatherRows(cut, w, index));
        replacement.put(linear, new Weight.Dense(cut));
        String name = linear + ".bias";
        if (replacement.has(name)) {
            Tensor bias = replacement.tensor(name);
            Tensor part = scope.arena().allocate(bias.dtype(), new Shape(rows.length, 1));
            scope.run(new ForwardOp.GatherRows(part, bias.reshape(bias.shape().size(), 1), index));
            replacement.put(name, part.reshape(rows.length));
        }
    }

    /// The rows of some runs of `width` rows.
    private static int[] runs(int[] which, int width, int offset) {
        return IntStream.of(which)
                .flatMap(r -> IntStream.range(offset + r * width, offset + (r + 1) * width))
                .toArray();
    }

    private static int[] concatenated(int[]... parts) {
        return java.util.Arrays.stream(parts).flatMapToInt(IntStream::of).toArray();
    }
}
