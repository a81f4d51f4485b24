// SPDX-License-Identifier: Apache-2.0
package io.llmc.model;

import io.llmc.backend.ForwardOp;
import io.llmc.backend.ForwardOp.Activation;
import io.llmc.tensor.DType;
import io.llmc.tensor.Tensor;
import io.llmc.tensor.Weight;
import java.util.ArrayList;
import java.util.List;

/// What stands before and behind the branches of a block whose streams are connected by weights.
/// These are cheap: asked again behind a branch, they are the same, and nothing is kept.
///
/// @param tensors of each branch, as in [HyperConnectionsSpec#tensors]
record HyperConnections(HyperConnectionsSpec spec, List<List<Tensor>> tensors)
        implements ManyStreams {
    @Override
    public List<Stage> around(List<BranchSpec> specs, List<List<Stage>> branches) {
        List<Stage> all = new ArrayList<>();
        int next = 0;
        for (int i = 0; i < branches.size(); i++) {
            if (!specs.get(i).parallel()) {
                List<Tensor> own = tensors.get(next++);
                all.add(stage((f, out, row) -> read(f, out, row, own)));
            }
            all.addAll(branches.get(i));
            if (i + 1 == branches.size() || !specs.get(i + 1).parallel()) {
                List<Tensor> own = tensors.get(next - 1);
                all.add(stage((f, out, row) -> write(f, out, row, own)));
            }
        }
        return all;
    }

    private Stage stage(StreamStage.Step step) {
        return new StreamStage((1 + spec.streams()) * spec.hidden(), step);
    }

    /// `sum_i p[i] X[i]` goes where the branch reads.
    private void read(Forward f, Tensor out, Tensor row, List<Tensor> own) {
        Tensor all = streams(f, row);
        Tensor given = f.columns(weights(f, all, own), 0, spec.streams());
        Tensor shares = plus(f, activated(f, given), spec.eps());
        f.run(new ForwardOp.PutColumns(out, sum(f, row, spec.streams(), spec.hidden(), shares), 0));
        f.run(new ForwardOp.PutColumns(out, all, spec.hidden()));
    }

    /// `X[j] = q[j] y + sum_i M[i,j] X[i]`; nothing is left where the branch wrote y.
    private void write(Forward f, Tensor out, Tensor row, List<Tensor> own) {
        int n = spec.streams();
        Tensor weights = weights(f, streams(f, row), own);
        Tensor half = activated(f, f.columns(weights, n, n));
        Tensor q = f.allocate(half.rows(), n);
        f.run(new ForwardOp.Scale(q, half, 2));
        Tensor any = f.columns(weights, 2 * n, n * n);
        Tensor mixed = f.allocate(any.rows(), any.cols());
        f.run(new ForwardOp.Sinkhorn(mixed, any, spec.balance()));
        Tensor made = f.columns(row, 0, spec.hidden());
        Tensor rows = rows(f, row.rows());
        for (int j = 0; j < n; j++) {
            Tensor x = f.allocate(made.rows(), made.cols());
            f.run(new ForwardOp.Zero(x));
            f.run(new ForwardOp.AccumulateRows(x, made, rows, column(f, q, j), 1));
            for (int i = 0; i < n; i++) {
                Tensor from = f.columns(row, (1 + i) * spec.hidden(), spec.hidden());
                Tensor share = column(f, mixed, i * n + j);
                f.run(new ForwardOp.AccumulateRows(x, from, rows, share, 1));
            }
            f.run(new ForwardOp.PutColumns(out, x, (1L + j) * spec.hidden()));
        }
        Tensor nothing = f.allocate(made.rows(), made.cols());
        f.run(new ForwardOp.Zero(nothing));
        f.run(new ForwardOp.PutColumns(out, nothing, 0));
    }

    private Tensor streams(Forward f, Tensor row) {
        return f.columns(row, spec.hidden(), spec.streams() * spec.hidden());
    }

    /// `fn(rms(X)) * scale + base`, `[tokens, weights]`
    private Tensor weights(Forward f, Tensor all, List<Tensor> own) {
        Tensor u = product(f, all, own.get(0), spec.normEps());
        int n = spec.streams();
        Tensor each = f.numbers(DType.I32, spec.weights(), c -> c < n ? 0 : c < 2 * n ? 1 : 2);
        Tensor scales = f.allocate(3, 1);
        f.run(new ForwardOp.Scale(scales, own.get(2).reshape(3, 1), 1));
        Tensor factors = f.allocate(spec.weights(), 1);
        f.run(new ForwardOp.GatherRows(factors, scales, each));
        Tensor scaled = f.allocate(u.rows(), u.cols());
        f.run(new ForwardOp.MultiplyRow(scaled, u, factors.reshape(spec.weights()), 0));
        Tensor sum = f.allocate(u.rows(), u.cols());
        f.run(new ForwardOp.AddRow(sum, scaled, own.get(1)));
        return sum;
    }

    /// `w rms(x)`
    static Tensor product(Forward f, Tensor x, Tensor w, double eps) {
        Tensor normed = f.allocate(x.rows(), x.cols());
        f.run(new ForwardOp.RmsNorm(normed, x, null, (float) eps, 0));
        Tensor y = f.allocate(x.rows(), w.rows());
        f.run(new ForwardOp.Matmul(y, normed, new Weight.Dense(w)));
        return y;
    }

    static Tensor activated(Forward f, Tensor x) {
        Tensor y = f.allocate(x.rows(), x.cols());
        f.run(new ForwardOp.Activate(y, x, Activation.SIGMOID));
        return y;
    }

    static Tensor plus(Forward f, Tensor x, double number) {
        Tensor ones = f.ones(x.cols());
        Tensor numbers = f.allocate(1, x.cols());
        f.run(new ForwardOp.Scale(numbers, ones.reshape(1, x.cols()), (float) number));
        Tensor y = f.allocate(x.rows(), x.cols());
        f.run(new ForwardOp.AddRow(y, x, numbers.reshape(x.cols())));
        return y;
    }

    /// The streams of a row, each times its share.
    ///
    /// @param shares `[tokens, streams]`
    static Tensor sum(Forward f, Tensor row, int streams, int hidden, Tensor shares) {
        Tensor sum = f.allocate(row.rows(), hidden);
        Tensor rows = rows(f, row.rows());
        f.run(new ForwardOp.Zero(sum));
        for (int i = 0; i < streams; i++) {
            Tensor x = f.columns(row, (1 + i) * hidden, hidden);
            f.run(new ForwardOp.AccumulateRows(sum, x, rows, column(f, shares, i), 1));
        }
        return sum;
    }

    private static Tensor rows(Forward f, long count) {
        return f.numbers(DType.I32, count, r -> r);
    }

    private static Tensor column(Forward f, Tensor x, int index) {
        return f.columns(x, index, 1).reshape(x.rows());
    }
}
