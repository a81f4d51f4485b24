// SPDX-License-Identifier: Apache-2.0
package io.llmc.backend;

import static io.llmc.backend.Shapes.f32;
import static io.llmc.backend.Shapes.require;

import io.llmc.tensor.Tensor;
import java.util.List;
import java.util.Objects;
import java.util.function.Function;
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
        public Stream<Tensor> operands() {
            return Stream.of(
                            Stream.of(op.out()),
                            states(runs, Run::end),
                            Shapes.some(op.x(), op.weight(), op.bias()),
                            states(runs, Run::begin))
                    .flatMap(s -> s);
        }
    }
}
