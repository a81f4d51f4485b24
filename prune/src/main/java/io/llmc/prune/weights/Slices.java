// SPDX-License-Identifier: Apache-2.0
package io.llmc.prune.weights;

import io.llmc.backend.ForwardOp;
import io.llmc.model.Linear;
import io.llmc.model.language.Replacement;
import io.llmc.model.structure.PruneGroup;
import io.llmc.pipeline.pass.BlockScope;
import io.llmc.tensor.Shape;
import io.llmc.tensor.Tensor;
import io.llmc.tensor.Weight;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.SequencedMap;
import java.util.stream.IntStream;

/// Cuts rows and columns out of a block's layers, biases with them.
public final class Slices {
    private final BlockScope scope;
    private final Replacement replacement;

    public Slices(BlockScope scope) {
        this.scope = scope;
        this.replacement = scope.replacement();
    }

    public Replacement replacement() {
        return replacement;
    }

    /// Leaves what stays of a layer's inputs and of the layers that make them.
    ///
    /// @param kept parts that stay, ascending, of every group that the layer reads
    /// @param columns of the reader that stay
    public void take(Linear reader, Map<PruneGroup, int[]> kept, Tensor columns) {
        SequencedMap<String, IntStream> rows = new LinkedHashMap<>();
        kept.forEach((group, parts) ->
                group.rows()
                        .forEach(span ->
                                rows.merge(span.linear(), span.indices(parts), IntStream::concat)));
        rows.forEach((linear, stay) -> rows(linear, stay.sorted().toArray()));
        replacement.put(reader.name(), new Weight.Dense(columns));
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
}
