// SPDX-License-Identifier: Apache-2.0
package io.llmc.model;

import io.llmc.model.structure.NormSpec;
import io.llmc.model.structure.ScaleGroup;
import java.util.ArrayList;
import java.util.List;
import java.util.function.UnaryOperator;

/// What a block adds to its residual stream at once: `x + scale * post(body(pre(r)))`.
///
/// @param pre null for none
/// @param post null for none
/// @param parallel r is what the branch before this one read; else r is x
public record BranchSpec(
        NormSpec pre, BodySpec body, NormSpec post, float scale, boolean parallel) {
    public static BranchSpec of(NormSpec pre, BodySpec body) {
        return of(pre, body, null);
    }

    public static BranchSpec of(NormSpec pre, BodySpec body, NormSpec post) {
        return new BranchSpec(pre, body, post, 1, false);
    }

    List<ScaleGroup> scaleGroups() {
        List<ScaleGroup> all = new ArrayList<>();
        if (pre != null) {
            all.add(new ScaleGroup(new ScaleGroup.Weights(pre), body.streams().readers()));
        }
        all.addAll(body.scaleGroups());
        return all;
    }

    BranchSpec renamed(UnaryOperator<String> names) {
        return new BranchSpec(
                NormSpec.renamed(pre, names),
                body.renamed(names),
                NormSpec.renamed(post, names),
                scale,
                parallel);
    }
}
