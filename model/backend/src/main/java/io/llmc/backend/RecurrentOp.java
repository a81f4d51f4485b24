// SPDX-License-Identifier: Apache-2.0
package io.llmc.backend;

import static io.llmc.backend.Shapes.f32;
import static io.llmc.backend.Shapes.require;

import io.llmc.tensor.Tensor;
import java.util.List;
import java.util.Objects;
import java.util.function.Function;
import java.util.stream.IntStream;
import java.util.stream.Stream;

/// What goes through the rows of a sequence with a state, and may go on where it stopped.
public sealed interface RecurrentOp extends Op {
    /// Rows of one sequence.
    ///
    /// @param row its first
    /// @param begin F32, the state before them; null for zeros
    /// @param end where the state behind them goes: may be `begin`; null where nobody wants it
    record Run(int row, int length, Tensor begin, Tensor end) {
        public Run {
            require(row >= 0 && length > 0, "run", row, length, begin, end);
        }

        boolean fits(Tensor x, long rows, long cols) {
            return row + (long) length <= x.rows()
                    && Stream.of(begin, end)
                            .filter(Objects::nonNull)
                            .allMatch(s -> f32(s) && s.is(rows, cols));
        }
    }

    List<Run> runs();

    /// The same over other sequences.
    RecurrentOp with(List<Run> others);

    /// Whole sequences, whose states nobody keeps.
    static List<Run> whole(long rows, int length) {
        return IntStream.range(0, Math.toIntExact(rows / length))
                .mapToObj(i -> new Run(i * length, length, null, null))
                .toList();
    }

    private static Stream<Tensor> states(List<Run> runs, Function<Run, Tensor> state) {
        return runs.stream().map(state).filter(Objects::nonNull);
    }

    /// [ForwardOp.Convolve] of sequences that go on: the state is the `taps - 1` rows before.
    ///
    /// @param op its length does not matter
    /// @param runs of different sequences
    record ResumeConvolve(ForwardOp.Convolve op, List<Run> runs) implements RecurrentOp {
        public ResumeConvolve {
            long rows = op.taps() - 1L;
            require(
                    runs.stream().allMatch(r -> r.fits(op.x(), rows, op.x().cols())),
                    "resumeConvolve",
                    op,
                    runs);
        }

        @Override
        public ResumeConvolve with(List<Run> others) {
            return new ResumeConvolve(op, others);
        }

        @Override
        public Stream<Tensor> operands() {
            return Stream.of(
                            Stream.of(op.out()),
                            states(runs, Run::end),
                            Shapes.some(op.x(), op.weight(), op.bias()),
                            states(runs, Run::begin))
                    .flatMap(s -> s);
        }
    }

    /// Heads of a recurrence: each value head has a state `[keyDim, valueDim]`.
    ///
    /// @param keys heads that have keys and queries, each of which `values / keys` neighbouring
    ///   value heads share
    record Heads(int keys, int values, int keyDim, int valueDim) {
        public Heads {
            require(
                    keys > 0 && values % keys == 0 && keyDim > 0 && valueDim > 0,
                    "heads",
                    keys,
                    values,
                    keyDim,
                    valueDim);
        }

        public int keyWidth() {
            return keys * keyDim;
        }

        public int valueWidth() {
            return values * valueDim;
        }

        /// Rows of the states of all heads.
        public long stateRows() {
            return (long) values * keyDim;
        }

        private boolean fits(Tensor out, Tensor q, Tensor k, Tensor v, List<Run> runs) {
            return out.cols() == valueWidth()
                    && out.like(v)
                    && q.is(out.rows(), keyWidth())
                    && k.like(q)
                    && f32(out, q)
                    && runs.stream().allMatch(r -> r.fits(out, stateRows(), valueDim));
        }
    }

    /// The gated delta rule (Yang et al., 2024, arXiv 2412.06464), whose decay may differ by
    /// channel (Kimi Linear, 2025, arXiv 2510.26692). Row by row in each value head: `S = diag(a)
    /// S`, `S = S + k (sigmoid(beta) (v - S^T k))^T`, `out = S^T q`, where q and k are divided by
    /// the root of their sum of squares + 1e-6, and q by that of its size.
    ///
    /// @param out `[tokens, values * valueDim]`; v too
    /// @param q `[tokens, keys * keyDim]`; k too
    /// @param decay of a
    /// @param beta F32 `[tokens, values]`
    /// @param runs of different sequences
    record DeltaRule(
            Tensor out,
            Tensor q,
            Tensor k,
            Tensor v,
            Decay decay,
            Tensor beta,
            Heads heads,
            List<Run> runs)
            implements RecurrentOp {
        public DeltaRule {
            require(
                    heads.fits(out, q, k, v, runs)
                            && decay.fits(out.rows(), heads)
                            && beta.is(out.rows(), heads.values())
                            && f32(beta),
                    "deltaRule",
                    out,
                    q,
                    k,
                    v,
                    decay,
                    beta,
                    heads,
                    runs);
        }

        @Override
        public DeltaRule with(List<Run> others) {
            return new DeltaRule(out, q, k, v, decay, beta, heads, others);
        }

        @Override
        public Stream<Tensor> operands() {
            return Stream.of(
                            Stream.of(out),
                            states(runs, Run::end),
                            Stream.of(q, k, v, beta),
                            decay.tensors(),
                            states(runs, Run::begin))
                    .flatMap(s -> s);
        }
    }

    /// What a state keeps of itself from row to row: `exp(-exp(rate) softplus(x + bias))`, or, with
    /// a bound, `exp(bound sigmoid(exp(rate) (x + bias)))`.
    ///
    /// @param x F32 `[tokens, values]`, or `[tokens, values * keyDim]` for each channel of keys
    /// @param rate `[values]`
    /// @param bias one for each column of x
    /// @param bound below 0: the least logarithm; 0 for none
    record Decay(Tensor x, Tensor rate, Tensor bias, float bound) {
        public Decay {
            require(f32(x) && bias.isVector(x.cols()) && bound <= 0, "decay", x, rate, bias, bound);
        }

        /// Whether channels differ.
        public boolean byChannel(Heads heads) {
            return x.cols() != heads.values();
        }

        boolean fits(long rows, Heads heads) {
            return rate.isVector(heads.values())
                    && (x.is(rows, heads.values()) || x.is(rows, heads.stateRows()));
        }

        private Stream<Tensor> tensors() {
            return Stream.of(x, rate, bias);
        }
    }

    /// The scan of Mamba-2 (Dao and Gu, 2024, arXiv 2405.21060): row by row in each value head `S =
    /// exp(-exp(rate) dt) S + k (dt v)^T`, `out = S^T q + skip v`, where dt is softplus(step +
    /// bias) within its bounds.
    ///
    /// @param out `[tokens, values * valueDim]`; v, the paper's x, too
    /// @param q `[tokens, keys * keyDim]`, the paper's C; k, its B, too
    /// @param runs of different sequences
    record StateSpace(
            Tensor out,
            Tensor q,
            Tensor k,
            Tensor v,
            Steps steps,
            Tensor skip,
            Heads heads,
            List<Run> runs)
            implements RecurrentOp {
        public StateSpace {
            require(
                    heads.fits(out, q, k, v, runs)
                            && steps.x().is(out.rows(), heads.values())
                            && skip.isVector(heads.values()),
                    "stateSpace",
                    out,
                    q,
                    k,
                    v,
                    steps,
                    skip,
                    heads,
                    runs);
        }

        @Override
        public StateSpace with(List<Run> others) {
            return new StateSpace(out, q, k, v, steps, skip, heads, others);
        }

        @Override
        public Stream<Tensor> operands() {
            return Stream.of(
                            Stream.of(out),
                            states(runs, Run::end),
                            Stream.of(q, k, v, skip),
                            steps.tensors(),
                            states(runs, Run::begin))
                    .flatMap(s -> s);
        }
    }

    /// The scan of Mamba (Gu and Dao, 2023, arXiv 2312.00752), a state of its own for each channel:
    /// row by row `S[n,i] = exp(-exp(rate[i,n]) dt[i]) S[n,i] + dt[i] x[i] b[n]`, `out[i] = sum_n
    /// c[n] S[n,i] + skip[i] x[i]`, where dt is softplus(step).
    ///
    /// @param out F32 `[tokens, channels]`; x and step too
    /// @param b F32 `[tokens, states]`; c too
    /// @param rate `[channels, states]`
    /// @param skip `[channels]`
    /// @param runs of different sequences; a state is `[states, channels]`
    record SelectiveScan(
            Tensor out,
            Tensor x,
            Tensor step,
            Tensor b,
            Tensor c,
            Tensor rate,
            Tensor skip,
            List<Run> runs)
            implements RecurrentOp {
        public SelectiveScan {
            require(
                    f32(out, b)
                            && x.like(out)
                            && step.like(out)
                            && b.rows() == out.rows()
                            && c.like(b)
                            && rate.is(out.cols(), b.cols())
                            && skip.isVector(out.cols())
                            && runs.stream().allMatch(r -> r.fits(out, b.cols(), out.cols())),
                    "selectiveScan",
                    out,
                    x,
                    step,
                    b,
                    c,
                    rate,
                    skip,
                    runs);
        }

        @Override
        public SelectiveScan with(List<Run> others) {
            return new SelectiveScan(out, x, step, b, c, rate, skip, others);
        }

        @Override
        public Stream<Tensor> operands() {
            return Stream.of(
                            Stream.of(out),
                            states(runs, Run::end),
                            Stream.of(x, step, b, c, rate, skip),
                            states(runs, Run::begin))
                    .flatMap(s -> s);
        }
    }

    /// How far each row goes in [StateSpace].
    ///
    /// @param x F32 `[tokens, values]`
    /// @param rate `[values]`; bias too
    /// @param least of a step
    /// @param most of a step; may be infinite
    record Steps(Tensor x, Tensor rate, Tensor bias, float least, float most) {
        public Steps {
            require(
                    f32(x) && rate.isVector(x.cols()) && bias.isVector(x.cols()) && least <= most,
                    "steps",
                    x,
                    rate,
                    bias,
                    least,
                    most);
        }

        private Stream<Tensor> tensors() {
            return Stream.of(x, rate, bias);
        }
    }
}
