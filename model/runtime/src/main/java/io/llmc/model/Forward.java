// SPDX-License-Identifier: Apache-2.0
package io.llmc.model;

import io.llmc.backend.Backend;
import io.llmc.backend.CompressedOp;
import io.llmc.backend.ForwardOp;
import io.llmc.backend.Op;
import io.llmc.backend.RecurrentOp;
import io.llmc.backend.Runner;
import io.llmc.backend.SparseOp;
import io.llmc.backend.TensorArena;
import io.llmc.model.structure.CacheSpec;
import io.llmc.model.structure.PageSpec;
import io.llmc.model.structure.StateSpec;
import io.llmc.tensor.DType;
import io.llmc.tensor.Shape;
import io.llmc.tensor.Tensor;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.List;
import java.util.function.IntUnaryOperator;

/// What a forward pass runs with. Immutable: whoever wants to listen makes a copy with its own tap.
///
/// @param backend for transfers; operations go to `runner`
/// @param runner the backend itself, or a decorator that checks, times or records
/// @param arena where results and temporaries are allocated
/// @param positions length of the sequences and their rotary tables
/// @param observing stages return once their taps have seen the inputs, before anything is
///   multiplied
/// @param past what attention looks back to beyond the pass; null where it sees whole sequences
public record Forward(
        Backend backend,
        Runner runner,
        TensorArena arena,
        Positions positions,
        Tap tap,
        boolean observing,
        Past past) {
    public Forward(Backend backend, TensorArena arena, Positions positions) {
        this(backend, backend, arena, positions, Tap.NONE, false, null);
    }

    /// A pass over whole sequences.
    public Forward(
            Backend backend,
            Runner runner,
            TensorArena arena,
            Positions positions,
            Tap tap,
            boolean observing) {
        this(backend, runner, arena, positions, tap, observing, null);
    }

    public void run(Op op) {
        runner.run(op);
    }

    /// See [Runner#runAll].
    void runAll(List<? extends Op> independent) {
        runner.runAll(independent);
    }

    /// Attention among the pass's rows, and to what lies before them.
    void attend(CacheSpec layer, ForwardOp.Attention op) {
        if (past == null) {
            run(op);
        } else {
            past.attend(this, layer, op);
        }
    }

    /// Which keys the pass's rows attend to, of their own and of those that lie before them.
    void choose(PageSpec keys, SparseOp.Choose op) {
        if (past == null) {
            run(op);
        } else {
            past.choose(this, keys, op);
        }
    }

    /// Attention to chosen keys.
    void attend(CacheSpec layer, SparseOp.ChosenAttention op) {
        if (past == null) {
            run(op);
        } else {
            past.attend(this, layer, op);
        }
    }

    /// Keys of several tokens each, of the pass's rows and of those before them.
    void compress(PageSpec tokens, CompressedOp.Compress op) {
        if (past == null) {
            run(op);
        } else {
            past.compress(this, tokens, op);
        }
    }

    /// Which keys of several tokens the pass's rows attend to.
    void choose(PageSpec entries, CompressedOp.ChooseEntries op) {
        if (past == null) {
            run(op);
        } else {
            past.choose(this, entries, op);
        }
    }

    /// Attention to keys of single tokens and of several.
    void attend(PageSpec keys, PageSpec entries, CompressedOp.CompressedAttention op) {
        if (past == null) {
            run(op);
        } else {
            past.attend(this, keys, entries, op);
        }
    }

    /// A convolution over the pass's rows, and over those that lie before them.
    void convolve(StateSpec state, ForwardOp.Convolve op) {
        if (past == null) {
            run(op);
        } else {
            past.resume(this, state, new RecurrentOp.ResumeConvolve(op, List.of()));
        }
    }

    /// A recurrence through the pass's rows, which goes on where it stopped before them.
    ///
    /// @param op over no sequences yet
    /// @param rows of the pass
    void recur(StateSpec state, RecurrentOp op, long rows) {
        if (past == null) {
            run(op.with(RecurrentOp.whole(rows, positions.length())));
        } else {
            past.resume(this, state, op);
        }
    }

    public Forward in(TensorArena other) {
        return new Forward(backend, runner, other, positions, tap, observing, past);
    }

    /// A pass that only shows the next linear layers' inputs to `listener`.
    public Forward observing(Tap listener) {
        return new Forward(backend, runner, arena, positions, listener, true, past);
    }

    /// A pass that shows what it meets to `listener` on its way.
    public Forward shownTo(Tap listener) {
        return new Forward(backend, runner, arena, positions, listener, false, past);
    }

    /// `out[r,:] = weights[r] * x[r,:]`
    ///
    /// @param weights `[rows]`
    void timesRows(Tensor out, Tensor x, Tensor weights) {
        Tensor rows = numbers(DType.I32, x.rows(), r -> r);
        run(new ForwardOp.Zero(out));
        run(new ForwardOp.AccumulateRows(out, x, rows, weights, 1));
    }

    /// `out = scalar * x`
    ///
    /// @param scalar `[1]`
    void times(Tensor out, Tensor x, Tensor scalar) {
        Tensor number = allocate(1, 1);
        run(new ForwardOp.Scale(number, scalar.reshape(1, 1), 1));
        Tensor weights = allocate(x.rows(), 1);
        Tensor zeros = numbers(DType.I32, x.rows(), _ -> 0);
        run(new ForwardOp.GatherRows(weights, number, zeros));
        timesRows(out, x, weights.reshape(x.rows()));
    }

    /// Some columns of x, `[rows, count]`.
    Tensor columns(Tensor x, int from, int count) {
        Tensor y = allocate(x.rows(), count);
        run(new ForwardOp.Columns(y, x, from));
        return y;
    }

    Tensor ones(long count) {
        return numbers(DType.F32, count, _ -> Float.floatToRawIntBits(1));
    }

    Tensor numbers(DType type, long count, IntUnaryOperator bits) {
        Tensor all = arena.allocate(type, new Shape(count));
        try (Arena host = Arena.ofConfined()) {
            MemorySegment numbers = host.allocate(4 * count, 4);
            for (int i = 0; i < count; i++) {
                numbers.setAtIndex(ValueLayout.JAVA_INT, i, bits.applyAsInt(i));
            }
            backend.upload(all, numbers);
        }
        return all;
    }

    public Tensor allocate(long rows, long cols) {
        return arena.allocate(DType.F32, new Shape(rows, cols));
    }
}
