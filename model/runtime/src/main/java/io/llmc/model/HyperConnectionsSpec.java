// SPDX-License-Identifier: Apache-2.0
package io.llmc.model;

import io.llmc.backend.ForwardOp;
import io.llmc.backend.Op;
import io.llmc.model.BodySpec.InnerTensor;
import io.llmc.model.structure.Size;
import io.llmc.tensor.Shape;
import java.util.List;
import java.util.function.UnaryOperator;

/// Several residual streams X of which each branch reads a weighted sum, and to which it adds what
/// it makes of that, with weights that are made of all streams (hyper-connections: Zhu et al.,
/// 2024, arXiv 2409.19606): `X[j] = q[j] f(sum_i p[i] X[i]) + sum_i M[i,j] X[i]`. M is near a
/// doubly stochastic matrix (mHC: Xie et al., 2025, arXiv 2512.24880). A branch that reads what the
/// one before it reads belongs to that one.
///
/// @param prefixes of the names of each branch's tensors
/// @param streams how many
/// @param hidden channels of each
/// @param normEps of the norm, without weights, of all streams together
/// @param rounds of balancing M
/// @param eps added to p, and to what M is divided by
public record HyperConnectionsSpec(
        List<String> prefixes, int streams, int hidden, double normEps, int rounds, double eps)
        implements ManyStreamsSpec {
    public HyperConnectionsSpec {
        if (prefixes.isEmpty() || streams < 1 || hidden < 1 || rounds < 1 || !(eps >= 0)) {
            throw new IllegalArgumentException("no connections of %d streams".formatted(streams));
        }
    }

    /// Weights that a branch makes of a row: p, q, and M row by row.
    int weights() {
        return streams * (streams + 2);
    }

    ForwardOp.Balance balance() {
        return new ForwardOp.Balance(streams, rounds, (float) eps);
    }

    /// For each branch what makes its weights of all streams, what these are added to, and what p,
    /// q and M are multiplied by before.
    @Override
    public List<InnerTensor> tensors() {
        return prefixes.stream().flatMap(prefix -> tensors(prefix).stream()).toList();
    }

    private List<InnerTensor> tensors(String prefix) {
        long all = (long) streams * hidden;
        return List.of(
                new InnerTensor(prefix + "fn", new Shape(weights(), all), List.of(Size.HIDDEN)),
                new InnerTensor(prefix + "base", new Shape(weights()), List.of()),
                new InnerTensor(prefix + "scale", new Shape(3), List.of()));
    }

    @Override
    public String role() {
        return "stream connections";
    }

    @Override
    public List<Class<? extends Op>> special() {
        return List.of(ForwardOp.Sinkhorn.class);
    }

    @Override
    public HyperConnectionsSpec renamed(UnaryOperator<String> names) {
        return new HyperConnectionsSpec(
                prefixes.stream().map(names).toList(), streams, hidden, normEps, rounds, eps);
    }

    @Override
    public HyperConnections build(BlockBuilder from) {
        return new HyperConnections(
                this, prefixes.stream().map(prefix -> from.tensors(tensors(prefix))).toList());
    }
}
