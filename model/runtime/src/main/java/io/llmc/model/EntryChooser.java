// SPDX-License-Identifier: Apache-2.0
package io.llmc.model;

import io.llmc.backend.CompressedOp.ChooseEntries;
import io.llmc.tensor.Tensor;
import java.util.List;

/// Chooses the keys of several tokens that an attention sees.
///
/// @param layers of queries and weights
/// @param keys makes those that queries are compared with
record EntryChooser(CompressedAttentionSpec.Choice spec, List<Linear> layers, Compressor keys) {
    /// @param x what the attention reads
    /// @param narrow what its queries are made of
    /// @return `[tokens, most]`
    Tensor choose(Forward f, Tensor x, Tensor narrow) {
        CompressorSpec sizes = spec.keys();
        Tensor queries = through(f, layers.get(0), narrow);
        Tensor turned = Compressor.turned(f, queries, sizes.turns(), sizes.dim());
        Tensor weights = through(f, layers.get(1), x);
        Tensor chosen = f.allocate(x.rows(), spec.most());
        // Scores are divided by the roots of the size of a head and of how many there are, which
        // changes no choice.
        f.choose(
                sizes.keys(),
                new ChooseEntries(chosen, turned, keys.keys(f, x), weights, sizes.rate()));
        return chosen;
    }

    private static Tensor through(Forward f, Linear layer, Tensor x) {
        Tensor y = f.allocate(x.rows(), layer.weight().outFeatures());
        layer.forward(f, y, x);
        return y;
    }
}
