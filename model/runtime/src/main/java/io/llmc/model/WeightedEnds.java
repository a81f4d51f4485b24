// SPDX-License-Identifier: Apache-2.0
package io.llmc.model;

import io.llmc.backend.ForwardOp;
import io.llmc.model.BodySpec.InnerTensor;
import io.llmc.model.structure.RowSpec.Ends;
import io.llmc.model.structure.Size;
import io.llmc.tensor.Shape;
import io.llmc.tensor.Tensor;
import java.util.List;

/// Streams that all begin as the embedding and end as a weighted sum.
///
/// @param tensors as in [#tensors(Ends.Weighted, int, int)]
record WeightedEnds(Ends.Weighted spec, List<Tensor> tensors) implements StreamEnds {
    /// What makes the weights of all streams, what these are added to, and what they are multiplied
    /// by before.
    static List<InnerTensor> tensors(Ends.Weighted spec, int streams, int hidden) {
        long all = (long) streams * hidden;
        return List.of(
                new InnerTensor(
                        spec.prefix() + "fn", new Shape(streams, all), List.of(Size.HIDDEN)),
                new InnerTensor(spec.prefix() + "base", new Shape(streams), List.of()),
                new InnerTensor(spec.prefix() + "scale", new Shape(1), List.of()));
    }

    private int streams() {
        return Math.toIntExact(tensors.getFirst().rows());
    }

    @Override
    public void spread(Forward f, Tensor row, Tensor x) {
        MeanEnds.copy(f, row, x, streams());
    }

    @Override
    public void gather(Forward f, Tensor out, Tensor row) {
        int hidden = Math.toIntExact(out.cols());
        Tensor all = f.columns(row, hidden, streams() * hidden);
        Tensor u = HyperConnections.product(f, all, tensors.get(0), spec.normEps());
        Tensor scaled = f.allocate(u.rows(), u.cols());
        f.times(scaled, u, tensors.get(2));
        Tensor sum = f.allocate(u.rows(), u.cols());
        f.run(new ForwardOp.AddRow(sum, scaled, tensors.get(1)));
        Tensor shares = HyperConnections.plus(f, HyperConnections.activated(f, sum), spec.eps());
        Tensor one = HyperConnections.sum(f, row, streams(), hidden, shares);
        f.run(new ForwardOp.Scale(out, one, 1));
    }
}
