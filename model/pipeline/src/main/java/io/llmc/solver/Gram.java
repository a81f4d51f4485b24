// SPDX-License-Identifier: Apache-2.0
package io.llmc.solver;

import io.llmc.backend.Desk;
import io.llmc.backend.ForwardOp;
import io.llmc.backend.StatisticOp;
import io.llmc.pipeline.pass.Observer;
import io.llmc.tensor.Tensor;

/// `x^T x` over the rows of everything it is shown.
///
/// @param in columns of x
public record Gram(long in) implements Observer<Tensor, Gram.Sum> {
    /// @param h F32 `[in, in]`
    /// @param tokens rows that were seen
    public record Sum(Desk desk, Tensor h, long tokens) {}

    /// Bytes of one sum.
    public static long bytes(long in) {
        return 4 * in * in + 256;
    }

    @Override
    public long bytes() {
        return bytes(in);
    }

    @Override
    public Sum empty(Desk d) {
        return new Sum(d, d.f32(in, in), 0);
    }

    @Override
    public Sum see(Sum s, Tensor x) {
        s.desk.run(new StatisticOp.AccumulateGram(s.h, x, 1));
        return new Sum(s.desk, s.h, s.tokens + x.rows());
    }

    @Override
    public Sum merge(Sum a, Sum b) {
        a.desk.run(new ForwardOp.Add(a.h, a.h, b.h, 1));
        return new Sum(a.desk, a.h, a.tokens + b.tokens);
    }
}
