// SPDX-License-Identifier: Apache-2.0
package io.llmc.model;

import io.llmc.backend.ForwardOp;
import io.llmc.tensor.Tensor;

/// Streams that all begin as the embedding and end as their mean.
record MeanEnds(int streams) implements StreamEnds {
    @Override
    public void spread(Forward f, Tensor row, Tensor x) {
        copy(f, row, x, streams);
    }

    /// What branches read, the first columns, stays as it is: zeros.
    static void copy(Forward f, Tensor row, Tensor x, int streams) {
        for (int i = 1; i <= streams; i++) {
            f.run(new ForwardOp.PutColumns(row, x, i * x.cols()));
        }
    }

    @Override
    public void gather(Forward f, Tensor out, Tensor row) {
        int hidden = Math.toIntExact(out.cols());
        Tensor sum = f.columns(row, hidden, hidden);
        for (int i = 2; i <= streams; i++) {
            Tensor more = f.allocate(out.rows(), hidden);
            f.run(new ForwardOp.Add(more, sum, f.columns(row, i * hidden, hidden), 1));
            sum = more;
        }
        f.run(new ForwardOp.Scale(out, sum, 1f / streams));
    }
}
