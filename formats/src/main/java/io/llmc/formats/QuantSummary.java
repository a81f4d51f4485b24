// SPDX-License-Identifier: Apache-2.0
package io.llmc.formats;

import io.llmc.tensor.Codes;
import io.llmc.tensor.Encoding;
import java.util.List;

/// What config files say about how a model was quantized.
///
/// @param method `gptq`, `rtn`, ...
/// @param descAct columns were rounded in the order of their activations
/// @param staticGroups groups stayed contiguous all the same, so that no weight has a group index
/// @param damp added to the Hessian's diagonal, as a part of its mean
/// @param ignored names of linear layers that stay dense, the head included
public record QuantSummary(
        Encoding.Grid<Codes.Ints> spec,
        String method,
        boolean descAct,
        boolean staticGroups,
        double damp,
        boolean trueSequential,
        List<String> ignored,
        String toolVersion) {
    public QuantSummary {
        ignored = List.copyOf(ignored);
    }

    /// Whether weights have a group index.
    boolean groupIndex() {
        return descAct && !staticGroups;
    }
}
