// SPDX-License-Identifier: Apache-2.0
package io.llmc.model;

import io.llmc.model.structure.NormSpec;
import io.llmc.model.structure.ScaleGroup;
import java.util.ArrayList;
import java.util.List;
import java.util.function.UnaryOperator;

/// What a block adds to its residual stream at once: `scalar * after(x + scale *
/// post(body(pre(r))))`.
///
/// @param pre null for none
/// @param post null for none
/// @param after a norm of the stream itself (OPT-350m, as in the first transformers); null for none
/// @param scalar name of a tensor of one number; null for none
/// @param carry what x is multiplied by in the sum; 1 but for some
/// @param back r is what the branch so many before this one read; 0 for x
public record BranchSpec(
        NormSpec pre,
        BodySpec body,
        NormSpec post,
        NormSpec after,
        String scalar,
        float scale,
        float carry,
        int back) {
    public static BranchSpec of(NormSpec pre, BodySpec body) {
        return of(pre, body, null);
    }

    public static BranchSpec of(NormSpec pre, BodySpec body, NormSpec post) {
        return new BranchSpec(pre, body, post, null, null, 1, 1, 0);
    }

    public BranchSpec times(float factor) {
        return new BranchSpec(pre, body, post, after, scalar, factor, carry, back);
    }

    /// The same with less of the stream itself; with 0 it is replaced.
    public BranchSpec carrying(double part) {
        return new BranchSpec(pre, body, post, after, scalar, scale, (float) part, back);
    }

    /// The same reading what the branch before it reads.
    public BranchSpec beside() {
        return beside(1);
    }

    /// The same reading what the branch so many before it reads.
    public BranchSpec beside(int branches) {
        return new BranchSpec(pre, body, post, after, scalar, scale, carry, branches);
    }

    public boolean parallel() {
        return back > 0;
    }

    public BranchSpec before(NormSpec ofTheSum) {
        return new BranchSpec(pre, body, post, ofTheSum, scalar, scale, carry, back);
    }

    public BranchSpec timesScalar(String tensor) {
        return new BranchSpec(pre, body, post, after, tensor, scale, carry, back);
    }

    List<ScaleGroup> scaleGroups() {
        List<ScaleGroup> all = new ArrayList<>();
        if (pre != null && pre.weighted()) {
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
                NormSpec.renamed(after, names),
                scalar == null ? null : names.apply(scalar),
                scale,
                carry,
                back);
    }
}
