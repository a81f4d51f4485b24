// SPDX-License-Identifier: Apache-2.0
package io.llmc.model;

import io.llmc.backend.ForwardOp;
import io.llmc.model.structure.CacheSpec;
import io.llmc.tensor.CacheScheme;
import io.llmc.tensor.InputRounding;
import io.llmc.tensor.Tensor;

/// Keys and values of one attention layer as a cache would hold them. Keys are rounded after their
/// rotation; queries stay as they are.
///
/// @param spec name and sizes
/// @param scheme null where nothing is rounded
/// @param keys their scales, F32, F16 or BF16: one, or one for each head
/// @param values likewise
public record KvCache(CacheSpec spec, CacheScheme scheme, Tensor keys, Tensor values) {
    Tensor keys(Forward f, Tensor k) {
        return rounded(f, k, keys, spec.width());
    }

    Tensor values(Forward f, Tensor v) {
        return rounded(f, v, values, spec.valueWidth());
    }

    private Tensor rounded(Forward f, Tensor x, Tensor scales, int width) {
        if (scheme == null) {
            return x;
        }
        Tensor out = f.allocate(x.rows(), x.cols());
        InputRounding rounding = new InputRounding(scheme.of(width), scales);
        f.run(new ForwardOp.RoundActivations(out, x, rounding));
        return out;
    }
}
