// SPDX-License-Identifier: Apache-2.0
package io.llmc.model;

import com.google.errorprone.annotations.MustBeClosed;
import io.llmc.backend.CompressedOp;
import io.llmc.backend.ForwardOp;
import io.llmc.backend.GradientOp;
import io.llmc.backend.Op;
import io.llmc.backend.Runner;
import io.llmc.backend.SparseOp;
import io.llmc.backend.SparseOp.Keys;
import io.llmc.backend.TensorArena;
import io.llmc.tensor.Buffer;
import io.llmc.tensor.DType;
import io.llmc.tensor.Shape;
import io.llmc.tensor.Tensor;
import io.llmc.tensor.Weight;
import java.util.ArrayList;
import java.util.Collection;
import java.util.Collections;
import java.util.IdentityHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.function.BiFunction;

/// Remembers what a forward pass ran, then runs it backwards: one gradient rule an operation. What
/// a rule needs of the forward pass must still be there, so the pass allocates from [#kept].
public final class Tape implements Runner {
    private final Runner target;
    private final TensorArena arena;

    /// Where gradients go.
    private TensorArena gradientArena;

    /// What the loss may depend on: parameters, and everything made of them.
    private final Set<Buffer> wanted = Collections.newSetFromMap(new IdentityHashMap<>());

    private final List<Op> ops = new ArrayList<>();

    /// Of a whole allocation; a view of a tensor has the same view of its gradient.
    private final Map<Buffer, Tensor> gradients = new IdentityHashMap<>();

    /// @param arena holds activations until the caller closes it, and gradients unless
    ///   [#gradientsIn] names another
    /// @param sources F32 tensors whose gradients are wanted; everything else is frozen
    public Tape(Runner target, TensorArena arena, Collection<Tensor> sources) {
        this.target = target;
        this.arena = arena;
        this.gradientArena = arena;
        sources.forEach(t -> wanted.add(t.buffer()));
    }

    /// Another tensor whose gradient is wanted, added to what `gradient` holds.
    ///
    /// @param t F32, the whole of its allocation
    /// @param gradient F32, like t
    public void source(Tensor t, Tensor gradient) {
        if (!t.like(gradient) || t.byteOffset() != 0 || t.byteSize() != t.buffer().byteSize()) {
            throw new IllegalArgumentException(
                    "a source is a whole allocation with a gradient like it: " + t);
        }
        wanted.add(t.buffer());
        gradients.put(t.buffer(), gradient.reshape(gradient.shape().size()));
    }

    @Override
    public void run(Op op) {
        target.run(op);
        if (!chooses(op.getClass()) && op.operands().anyMatch(t -> wanted.contains(t.buffer()))) {
            wanted.add(op.operands().findFirst().orElseThrow().buffer());
            if (op instanceof ForwardOp.Route route) {
                wanted.add(route.weights().buffer());
            }
            ops.add(op);
        }
    }

    /// For [Forward]: memory whose scratch scopes do not end, because backward needs what they
    /// hold.
    public TensorArena kept() {
        return keeping(arena);
    }

    /// An arena whose scratch scopes are the arena itself.
    public static TensorArena keeping(TensorArena arena) {
        return new TensorArena() {
            @Override
            public Tensor allocate(DType dtype, Shape shape) {
                return arena.allocate(dtype, shape);
            }

            @Override
            @MustBeClosed
            @SuppressWarnings("MustBeClosed") // the caller's arena ends it all
            public TensorArena scratch() {
                return this;
            }

            @Override
            public void close() {}
        };
    }

    /// The gradient of `t`, zero before anything flowed into it.
    public Tensor gradient(Tensor t) {
        if (t.dtype() != DType.F32) {
            throw new IllegalArgumentException("gradients are F32, so is what has one: " + t);
        }
        Tensor whole =
                gradients.computeIfAbsent(
                        t.buffer(),
                        buffer -> {
                            Tensor g =
                                    gradientArena.allocate(
                                            DType.F32, new Shape(buffer.byteSize() / 4));
                            target.run(new ForwardOp.Zero(g));
                            return g;
                        });
        return new Tensor(
                whole.buffer(), whole.byteOffset() + t.byteOffset(), DType.F32, t.shape());
    }

    /// From here on gradients lie in memory that may end sooner than the activations do.
    public void gradientsIn(TensorArena memory) {
        gradientArena = memory;
    }

    private boolean wants(Tensor t) {
        return t != null && wanted.contains(t.buffer());
    }

    /// Null where nobody wants it.
    private Tensor gradientOrNull(Tensor t) {
        return wants(t) ? gradient(t) : null;
    }

    /// From the gradients that the caller has put into [#gradient] of the last results to those of
    /// the sources.
    public void backward() {
        for (Op op : ops.reversed()) {
            switch (op) {
                case ForwardOp forward -> backward(forward);
                case CompressedOp.Compress forward -> backward(forward);
                case CompressedOp.CompressedAttention forward -> backward(forward);
                default -> throw new IllegalStateException("not differentiable: " + op);
            }
        }
    }

    /// Whether there is a rule for the gradient of an operation.
    public static boolean hasRule(Class<? extends Op> op) {
        return ForwardOp.class.isAssignableFrom(op)
                || op == CompressedOp.Compress.class
                || op == CompressedOp.CompressedAttention.class;
    }

    /// Whether an operation gives numbers of something: no gradient goes through it, and none has
    /// to.
    public static boolean chooses(Class<? extends Op> op) {
        return op == SparseOp.Choose.class || op == CompressedOp.ChooseEntries.class;
    }

    private void backward(CompressedOp.Compress op) {
        target.run(
                new GradientOp.AccumulateCompressGrad(
                        gradient(((Keys.Whole) op.tokens()).x()),
                        gradientOrNull(op.places()),
                        gradient(op.out()),
                        op));
    }

    private void backward(CompressedOp.CompressedAttention op) {
        target.run(
                new GradientOp.AccumulateCompressedAttentionGrad(
                        gradient(op.q()),
                        gradient(((Keys.Whole) op.keys()).x()),
                        gradient(((Keys.Whole) op.entries()).x()),
                        gradientOrNull(op.sinks()),
                        gradient(op.out()),
                        op));
    }

    private void backward(ForwardOp op) {
        switch (op) {
            case ForwardOp.Embed(var out, var ids, var table, float scale) ->
                    target.run(
                            new ForwardOp.AccumulateRows(
                                    gradient(table), gradient(out), ids, null, scale));
            case ForwardOp.Matmul(var out, var x, Weight w) -> {
                if (wants(x)) {
                    target.run(new GradientOp.AccumulateMatmulInput(gradient(x), gradient(out), w));
                }
                if (w instanceof Weight.Dense(var values) && wants(values)) {
                    target.run(new GradientOp.AccumulateOuter(gradient(values), gradient(out), x));
                }
                if (w instanceof Weight.Grouped packed && wants(packed.scales())) {
                    scales(packed, gradient(packed.scales()), gradient(out), x);
                }
            }
            case ForwardOp.IntegerMatmul(var out, var x, _, Weight.Grouped w) ->
                    target.run(new GradientOp.AccumulateMatmulInput(gradient(x), gradient(out), w));
            case ForwardOp.AddRow(var out, var x, var row) -> {
                pass(x, out, 1);
                if (wants(row)) {
                    target.run(new GradientOp.AccumulateColumnSums(gradient(row), gradient(out)));
                }
            }
            case ForwardOp.Add(var out, var a, var b, float scale) -> {
                pass(a, out, 1);
                pass(b, out, scale);
            }
            case ForwardOp.Multiply(var out, var a, var b) -> {
                through(a, out, (made, dout) -> new ForwardOp.Multiply(made, dout, b));
                through(b, out, (made, dout) -> new ForwardOp.Multiply(made, dout, a));
            }
            case ForwardOp.MultiplyRow(var out, var x, var row, float offset) -> {
                through(x, out, (made, dout) -> new ForwardOp.MultiplyRow(made, dout, row, offset));
                if (wants(row)) {
                    columnSums(gradient(row), gradient(out), x);
                }
            }
            case ForwardOp.Scale(var out, var x, float factor) -> pass(x, out, factor);
            case ForwardOp.RoundActivations(var out, var x, _) -> pass(x, out, 1);
            case ForwardOp.Softcap(var out, var x, float cap) ->
                    target.run(
                            new GradientOp.AccumulateSoftcapGrad(
                                    gradient(x), gradient(out), out, cap));
            case ForwardOp.Clip(var out, var x, float most) ->
                    target.run(
                            new GradientOp.AccumulateClipGrad(
                                    gradient(x), gradient(out), out, most));
            case ForwardOp.RmsNorm(var out, var x, var weight, float eps, float offset) ->
                    target.run(
                            new GradientOp.AccumulateRmsNormGrad(
                                    gradient(x),
                                    gradientOrNull(weight),
                                    gradient(out),
                                    x,
                                    weight,
                                    eps,
                                    offset));
            case ForwardOp.LayerNorm(var out, var x, var weight, var bias, float eps) ->
                    target.run(
                            new GradientOp.AccumulateLayerNormGrad(
                                    gradient(x),
                                    gradientOrNull(weight),
                                    gradientOrNull(bias),
                                    gradient(out),
                                    x,
                                    weight,
                                    eps));
            case ForwardOp.Rope(
                            var out,
                            var x,
                            var cosSin,
                            int dim,
                            int length,
                            boolean interleaved) ->
                    target.run(
                            new GradientOp.AccumulateRopeGrad(
                                    gradient(x), gradient(out), cosSin, dim, length, interleaved));
            case ForwardOp.Attention forward ->
                    target.run(
                            new GradientOp.AccumulateAttentionGrad(
                                    gradient(forward.q()),
                                    gradient(forward.k()),
                                    gradient(forward.v()),
                                    gradientOrNull(forward.sinks()),
                                    gradient(forward.out()),
                                    forward));
            case ForwardOp.Activate(var out, var x, var activation) ->
                    target.run(
                            new GradientOp.AccumulateActivateGrad(
                                    gradient(x), gradient(out), x, activation));
            case ForwardOp.Gated(var out, var gate, var up, var activation) ->
                    target.run(
                            new GradientOp.AccumulateGatedGrad(
                                    gradient(gate),
                                    gradient(up),
                                    gradient(out),
                                    gate,
                                    up,
                                    activation));
            case ForwardOp.ClampedSwiGlu(var out, var gate, var up, var clamp) ->
                    target.run(
                            new GradientOp.AccumulateClampedSwiGluGrad(
                                    gradient(gate), gradient(up), gradient(out), gate, up, clamp));
            case ForwardOp.Xielu(var out, var x, var curve) ->
                    target.run(
                            new GradientOp.AccumulateXieluGrad(
                                    gradient(x), gradient(out), x, curve));
            case ForwardOp.Sinkhorn(var out, var x, var balance) ->
                    target.run(
                            new GradientOp.AccumulateSinkhornGrad(
                                    gradient(x), gradient(out), x, balance));
            case ForwardOp.Convolve(var out, var x, var weight, var bias, int length) -> {
                target.run(
                        new GradientOp.AccumulateConvolveGrad(
                                gradientOrNull(x),
                                gradientOrNull(weight),
                                gradient(out),
                                x,
                                weight,
                                length));
                if (wants(bias)) {
                    target.run(new GradientOp.AccumulateColumnSums(gradient(bias), gradient(out)));
                }
            }
            case ForwardOp.Columns(var out, var x, long from) ->
                    target.run(new GradientOp.AccumulateColumns(gradient(x), gradient(out), from));
            case ForwardOp.PutColumns(var out, var x, long from) ->
                    through(x, out, (made, dout) -> new ForwardOp.Columns(made, dout, from));
            case ForwardOp.GatherRows(var out, var x, var rows) ->
                    target.run(
                            new ForwardOp.AccumulateRows(
                                    gradient(x), gradient(out), rows, null, 1));
            case ForwardOp.AccumulateRows(var sum, var x, var rows, var weights, float factor) ->
                    target.run(
                            new GradientOp.AccumulateRowsGrad(
                                    gradient(x),
                                    gradientOrNull(weights),
                                    gradient(sum),
                                    x,
                                    rows,
                                    weights,
                                    factor));
            case ForwardOp.Route(var experts, var weights, var logits, _, var router) ->
                    target.run(
                            new GradientOp.AccumulateRouteGrad(
                                    gradient(logits),
                                    gradient(weights),
                                    experts,
                                    weights,
                                    logits,
                                    router));
            case ForwardOp.WeighExperts(var weights, var experts, var logits, var router) ->
                    target.run(
                            new GradientOp.AccumulateRouteGrad(
                                    gradient(logits),
                                    gradient(weights),
                                    experts,
                                    weights,
                                    logits,
                                    router));
            case ForwardOp.Zero(var out) -> target.run(new ForwardOp.Zero(gradient(out)));
        }
    }

    private void scales(Weight.Grouped w, Tensor dscales, Tensor dout, Tensor x) {
        try (TensorArena scratch = gradientArena.scratch()) {
            Tensor dvalues =
                    scratch.allocate(DType.F32, new Shape(w.outFeatures(), w.inFeatures()));
            target.run(new ForwardOp.Zero(dvalues));
            target.run(new GradientOp.AccumulateOuter(dvalues, dout, x));
            target.run(new GradientOp.AccumulateScales(dscales, dvalues, w));
        }
    }

    /// `dx += made`
    ///
    /// @param op what makes it, of the gradient of `out`
    private void through(Tensor x, Tensor out, BiFunction<Tensor, Tensor, ForwardOp> op) {
        if (!wants(x)) {
            return;
        }
        Tensor dx = gradient(x);
        Tensor dout = gradient(out);
        try (TensorArena scratch = gradientArena.scratch()) {
            Tensor made = scratch.allocate(DType.F32, x.shape());
            target.run(op.apply(made, dout));
            target.run(new GradientOp.AccumulateScaled(dx, made, 1));
        }
    }

    /// `sum += column sums of dout * x`
    private void columnSums(Tensor sum, Tensor dout, Tensor x) {
        try (TensorArena scratch = gradientArena.scratch()) {
            Tensor product = scratch.allocate(DType.F32, x.shape());
            target.run(new ForwardOp.Multiply(product, dout, x));
            target.run(new GradientOp.AccumulateColumnSums(sum, product));
        }
    }

    private void pass(Tensor x, Tensor out, float factor) {
        if (wants(x)) {
            target.run(new GradientOp.AccumulateScaled(gradient(x), gradient(out), factor));
        }
    }
}
