// SPDX-License-Identifier: Apache-2.0
package io.llmc.model;

import io.llmc.backend.ForwardOp;
import io.llmc.tensor.Tensor;
import io.llmc.tensor.Weight;
import java.util.ArrayList;
import java.util.List;

/// What surrounds the branches of a block with several streams.
///
/// @param tensors as in [AltUpSpec#tensors]
record AltUp(AltUpSpec spec, List<Tensor> tensors) implements ManyStreams {
    @Override
    public List<Stage> around(List<BranchSpec> specs, List<List<Stage>> branches) {
        List<Stage> all = new ArrayList<>();
        all.add(stage(this::predict));
        branches.subList(0, branches.size() - 1).forEach(all::addAll);
        all.add(stage(this::correct));
        all.addAll(branches.getLast());
        all.add(stage(this::spread));
        return all;
    }

    private Stage stage(StreamStage.Step step) {
        return new StreamStage((1 + spec.streams()) * spec.hidden(), step);
    }

    /// Makes a guess of every stream; branches read the first one's.
    private void predict(Forward f, Tensor out, Tensor row) {
        Tensor routed = route(f, stream(f, row, 0));
        int n = spec.streams();
        Tensor coefficients = product(f, routed, tensors.get(2));
        for (int j = 0; j < n; j++) {
            Tensor guess = stream(f, row, j);
            for (int i = 0; i < n; i++) {
                Tensor share = f.columns(coefficients, j * n + i, 1);
                guess = plus(f, guess, times(f, stream(f, row, i), share));
            }
            put(f, out, guess, j);
            if (j == 0) {
                f.run(new ForwardOp.PutColumns(out, guess, 0));
            }
        }
    }

    /// Corrects the guesses by what the branches have made of the first one.
    private void correct(Forward f, Tensor out, Tensor row) {
        Tensor made = f.columns(row, 0, spec.hidden());
        Tensor routed = route(f, made);
        Tensor coefficients = product(f, routed, tensors.get(3));
        Tensor news = f.allocate(made.rows(), made.cols());
        f.run(new ForwardOp.Add(news, made, stream(f, row, 0), -1));
        for (int j = 0; j < spec.streams(); j++) {
            Tensor share = f.columns(coefficients, j, 1);
            Tensor sum = plus(f, stream(f, row, j), news);
            Tensor corrected = plus(f, sum, times(f, news, share));
            put(f, out, corrected, j);
            if (j == 0) {
                f.run(new ForwardOp.PutColumns(out, scaled(f, corrected), 0));
            }
        }
    }

    /// Adds what the last branch has made to all streams but the first.
    private void spread(Forward f, Tensor out, Tensor row) {
        Tensor made = f.columns(row, 0, spec.hidden());
        f.run(new ForwardOp.PutColumns(out, made, 0));
        for (int j = 0; j < spec.streams(); j++) {
            Tensor x = stream(f, row, j);
            put(f, out, j == 0 ? x : plus(f, x, made), j);
        }
    }

    private Tensor stream(Forward f, Tensor row, int index) {
        return f.columns(row, (1 + index) * spec.hidden(), spec.hidden());
    }

    private void put(Forward f, Tensor row, Tensor x, int index) {
        f.run(new ForwardOp.PutColumns(row, x, (1L + index) * spec.hidden()));
    }

    /// `tanh(router(norm(x) / hidden))`, `[tokens, streams]`
    private Tensor route(Forward f, Tensor x) {
        Tensor normed = f.allocate(x.rows(), x.cols());
        new Norm(spec.norm(), tensors.get(1), null).forward(f, normed, x);
        Tensor small = f.allocate(x.rows(), x.cols());
        f.run(new ForwardOp.Scale(small, normed, 1f / spec.hidden()));
        Tensor logits = product(f, small, tensors.getFirst());
        Tensor routed = f.allocate(logits.rows(), logits.cols());
        f.run(new ForwardOp.Softcap(routed, logits, 1));
        return routed;
    }

    private Tensor scaled(Forward f, Tensor x) {
        if (!spec.scaled()) {
            return x;
        }
        Tensor y = f.allocate(x.rows(), x.cols());
        f.run(new ForwardOp.MultiplyRow(y, x, tensors.getLast(), 0));
        return y;
    }

    private static Tensor product(Forward f, Tensor x, Tensor w) {
        Tensor y = f.allocate(x.rows(), w.rows());
        f.run(new ForwardOp.Matmul(y, x, new Weight.Dense(w)));
        return y;
    }

    private static Tensor plus(Forward f, Tensor a, Tensor b) {
        Tensor sum = f.allocate(a.rows(), a.cols());
        f.run(new ForwardOp.Add(sum, a, b, 1));
        return sum;
    }

    /// @param factors `[rows, 1]`
    private static Tensor times(Forward f, Tensor x, Tensor factors) {
        Tensor y = f.allocate(x.rows(), x.cols());
        f.timesRows(y, x, factors.reshape(x.rows()));
        return y;
    }
}
