// SPDX-License-Identifier: Apache-2.0
package io.llmc.model;

import io.llmc.backend.ForwardOp;
import io.llmc.tensor.Tensor;
import io.llmc.tensor.Weight;
import java.util.List;

/// Streams each of which but the first has a layer of its own, as large as the first, and which end
/// as their mean.
///
/// @param in layers of the streams behind the first, before the blocks
/// @param out the same behind them
record AltUpEnds(List<Linear> in, List<Linear> out) implements StreamEnds {
    /// Far below what any stream has.
    private static final float EPS = 1e-12f;

    @Override
    public void spread(Forward f, Tensor row, Tensor x) {
        f.run(new ForwardOp.PutColumns(row, x, 0));
        f.run(new ForwardOp.PutColumns(row, x, x.cols()));
        for (int i = 0; i < in.size(); i++) {
            Tensor other = as(f, in.get(i), x, x);
            f.run(new ForwardOp.PutColumns(row, other, (2 + i) * x.cols()));
        }
    }

    @Override
    public void gather(Forward f, Tensor out, Tensor row) {
        int hidden = Math.toIntExact(out.cols());
        Tensor first = f.columns(row, hidden, hidden);
        Tensor sum = first;
        for (int i = 0; i < this.out.size(); i++) {
            Tensor x = f.columns(row, (2 + i) * hidden, hidden);
            Tensor more = f.allocate(out.rows(), hidden);
            f.run(new ForwardOp.Add(more, sum, as(f, this.out.get(i), x, first), 1));
            sum = more;
        }
        f.run(new ForwardOp.Scale(out, sum, 1f / (1 + this.out.size())));
    }

    /// `layer(x)`, as large as another
    private static Tensor as(Forward f, Linear layer, Tensor x, Tensor other) {
        Tensor y = f.allocate(x.rows(), x.cols());
        layer.forward(f, y, x);
        Tensor plain = f.allocate(x.rows(), x.cols());
        f.run(new ForwardOp.RmsNorm(plain, y, null, EPS, 0));
        Tensor scaled = f.allocate(x.rows(), x.cols());
        f.timesRows(scaled, plain, size(f, other).reshape(x.rows()));
        return scaled;
    }

    /// The root of the mean square of each row, `[rows, 1]`.
    static Tensor size(Forward f, Tensor x) {
        Tensor plain = f.allocate(x.rows(), x.cols());
        f.run(new ForwardOp.RmsNorm(plain, x, null, EPS, 0));
        Tensor product = f.allocate(x.rows(), x.cols());
        f.run(new ForwardOp.Multiply(product, x, plain));
        return mean(f, product);
    }

    /// Of each row, `[rows, 1]`.
    static Tensor mean(Forward f, Tensor x) {
        Tensor sum = f.allocate(x.rows(), 1);
        Tensor ones = f.ones(x.cols()).reshape(1, x.cols());
        f.run(new ForwardOp.Matmul(sum, x, new Weight.Dense(ones)));
        Tensor mean = f.allocate(x.rows(), 1);
        f.run(new ForwardOp.Scale(mean, sum, 1f / x.cols()));
        return mean;
    }
}
