// SPDX-License-Identifier: Apache-2.0
package io.llmc.model;

import io.llmc.model.structure.RowSpec;
import io.llmc.tensor.Tensor;
import java.util.List;
import java.util.function.Function;

/// How one stream becomes several before the first block, and several one behind the last.
public sealed interface StreamEnds permits AltUpEnds, MeanEnds, WeightedEnds {
    /// @param row whose streams stand behind what branches read
    /// @param x the embedding
    void spread(Forward f, Tensor row, Tensor x);

    /// Makes one stream of those in a row.
    void gather(Forward f, Tensor out, Tensor row);

    /// @param layer by its name
    static StreamEnds of(ModelSpec spec, BlockBuilder from, Function<String, Linear> layer) {
        int streams = spec.rows().streams() - 1;
        return switch (spec.rows().ends()) {
            case RowSpec.Ends.Projected(List<String> in, List<String> out) ->
                    new AltUpEnds(
                            in.stream().map(layer).toList(), out.stream().map(layer).toList());
            case RowSpec.Ends.Mean() -> new MeanEnds(streams);
            case RowSpec.Ends.Weighted weighted ->
                    new WeightedEnds(weighted, from.tensors(spec.outerTensors()));
        };
    }
}
