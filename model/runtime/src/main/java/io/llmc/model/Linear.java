// SPDX-License-Identifier: Apache-2.0
package io.llmc.model;

import io.llmc.backend.Backend;
import io.llmc.backend.ForwardOp;
import io.llmc.backend.TensorArena;
import io.llmc.tensor.InputRounding;
import io.llmc.tensor.Tensor;
import io.llmc.tensor.Weight;
import java.util.ArrayList;
import java.util.List;
import java.util.Objects;

/// One projection. Its name is the checkpoint's; its weight is what passes replace.
public final class Linear {
    private final String name;
    private final Tensor bias;
    private InputRounding rounding;
    private Weight weight;
    private Adapter adapter;

    /// A low-rank addition to the weight, `scale * up * down`: LoRA,
    /// https://arxiv.org/abs/2106.09685.
    ///
    /// @param down F32 `[rank, in]`
    /// @param up F32 `[out, rank]`
    public record Adapter(Tensor down, Tensor up, float scale) {}

    /// @param name without `.weight`
    /// @param bias `[out]`, or null
    /// @param rounding null where inputs stay as they are
    public Linear(String name, Weight weight, Tensor bias, InputRounding rounding) {
        this.name = name;
        this.weight = weight;
        this.bias = bias;
        this.rounding = rounding;
    }

    public String name() {
        return name;
    }

    public Weight weight() {
        return weight;
    }

    public void replace(Weight compressed) {
        this.weight = compressed;
    }

    /// @param itsInputs null where they stay as they are
    public void replace(Weight compressed, InputRounding itsInputs) {
        this.weight = compressed;
        this.rounding = itsInputs;
    }

    /// Null where inputs stay as they are.
    public InputRounding rounding() {
        return rounding;
    }

    /// Whether a device multiplies inputs and weights as the 8-bit integers that they are, and not
    /// as their values.
    public boolean multipliesIntegers(Backend backend) {
        return backend.multipliesIntegers()
                && rounding != null
                && weight instanceof Weight.Grouped w
                && ForwardOp.IntegerMatmul.takes(rounding, w);
    }

    /// Puts an adapter beside the weight, whatever its encoding.
    public void adapt(Adapter added) {
        this.adapter = added;
    }

    /// The layer's first outputs alone; it must have no adapter.
    public Linear first(long outputs) {
        return outputs(0, outputs);
    }

    private Linear outputs(long from, long to) {
        return new Linear(
                name,
                weight.rows(from, to),
                bias == null
                        ? null
                        : bias.reshape(bias.shape().size(), 1).rows(from, to).reshape(to - from),
                rounding);
    }

    /// Outputs from one on: as many as `out` has columns.
    void forward(Forward f, Tensor out, Tensor x, long from) {
        if (adapter == null && from % weight.together() == 0) {
            outputs(from, from + out.cols()).forward(f, out, x);
            return;
        }
        try (TensorArena scratch = f.arena().scratch()) {
            Tensor all = f.in(scratch).allocate(x.rows(), weight.outFeatures());
            forward(f.in(scratch), all, x);
            f.run(new ForwardOp.Columns(out, all, from));
        }
    }

    /// `out = round(x) w^T + bias`, with what an adapter adds, which sees x as it is.
    public void forward(Forward f, Tensor out, Tensor x) {
        if (adapter == null) {
            plain(f, out, x);
            return;
        }
        try (TensorArena scratch = f.arena().scratch()) {
            Forward inner = f.in(scratch);
            Tensor own = inner.allocate(out.rows(), out.cols());
            Tensor narrow = inner.allocate(out.rows(), adapter.down().rows());
            Tensor added = inner.allocate(out.rows(), out.cols());
            plain(inner, own, x);
            f.run(new ForwardOp.Matmul(narrow, x, new Weight.Dense(adapter.down())));
            f.run(new ForwardOp.Matmul(added, narrow, new Weight.Dense(adapter.up())));
            f.run(new ForwardOp.Add(out, own, added, adapter.scale()));
        }
    }

    /// Layers with one input, each as by itself: their products may be made at once, and what all
    /// of them round alike is rounded once.
    static void forward(Forward f, List<Linear> layers, List<Tensor> outs, Tensor x) {
        InputRounding rounding = layers.getFirst().rounding;
        if (!layers.stream().allMatch(l -> l.multipliesPlainly(f, rounding))) {
            for (int i = 0; i < layers.size(); i++) {
                layers.get(i).forward(f, outs.get(i), x);
            }
            return;
        }
        try (TensorArena scratch = f.arena().scratch()) {
            Forward inner = f.in(scratch);
            Tensor input = layers.getFirst().rounded(inner, x);
            List<ForwardOp> products = new ArrayList<>();
            List<ForwardOp> sums = new ArrayList<>();
            for (int i = 0; i < layers.size(); i++) {
                Linear l = layers.get(i);
                Tensor out = outs.get(i);
                Tensor product = l.bias == null ? out : inner.allocate(out.rows(), out.cols());
                products.add(new ForwardOp.Matmul(product, input, l.weight));
                if (l.bias != null) {
                    sums.add(new ForwardOp.AddRow(out, product, l.bias));
                }
            }
            f.runAll(products);
            f.runAll(sums);
        }
    }

    /// Whether it is one product of inputs that are rounded so.
    private boolean multipliesPlainly(Forward f, InputRounding rounds) {
        return adapter == null
                && Objects.equals(rounding, rounds)
                && !multipliesIntegers(f.backend());
    }

    private void plain(Forward f, Tensor out, Tensor x) {
        if (bias == null) {
            product(f, out, x);
            return;
        }
        try (TensorArena scratch = f.arena().scratch()) {
            Forward inner = f.in(scratch);
            Tensor product = inner.allocate(out.rows(), out.cols());
            product(inner, product, x);
            f.run(new ForwardOp.AddRow(out, product, bias));
        }
    }

    private void product(Forward f, Tensor out, Tensor x) {
        if (rounding == null) {
            f.run(new ForwardOp.Matmul(out, x, weight));
        } else if (multipliesIntegers(f.backend())) {
            var integers = (Weight.Grouped) weight;
            f.run(new ForwardOp.IntegerMatmul(out, x, rounding, integers));
        } else {
            try (TensorArena scratch = f.arena().scratch()) {
                f.run(new ForwardOp.Matmul(out, rounded(f.in(scratch), x), weight));
            }
        }
    }

    /// Its input as it is multiplied.
    Tensor rounded(Forward f, Tensor x) {
        if (rounding == null) {
            return x;
        }
        Tensor rounded = f.allocate(x.rows(), x.cols());
        f.run(new ForwardOp.RoundActivations(rounded, x, rounding));
        return rounded;
    }
}
