// SPDX-License-Identifier: Apache-2.0
package io.llmc.distill;

import com.google.errorprone.annotations.MustBeClosed;
import io.llmc.backend.Backend;
import io.llmc.backend.LossOp;
import io.llmc.backend.TensorArena;
import io.llmc.distill.student.TrainedModel;
import io.llmc.model.DecoderBlock;
import io.llmc.model.Forward;
import io.llmc.model.Tap;
import io.llmc.model.Tape;
import io.llmc.pipeline.pass.ArenaPlan;
import io.llmc.pipeline.pass.HiddenStates;
import io.llmc.solver.RelativeError;
import io.llmc.tensor.DType;
import io.llmc.tensor.Shape;
import io.llmc.tensor.Tensor;

/// One block of a student learns to give what its teacher's blocks give: the mean squared error
/// over the mean square of the target.
final class BlockTrainer implements AutoCloseable {
    private final Backend backend;
    private final TrainedModel student;
    private final DecoderBlock block;
    private final HiddenStates inputs;
    private final HiddenStates targets;
    private final TensorArena arena;

    /// @param student of one block
    /// @param inputs of the block, window by window
    /// @param targets the same windows behind the teacher's blocks
    @MustBeClosed
    @SuppressWarnings("MustBeClosed") // closed by close()
    BlockTrainer(TrainedModel student, HiddenStates inputs, HiddenStates targets, int batch) {
        this.student = student;
        this.block = student.blocks().getFirst();
        this.inputs = inputs;
        this.targets = targets;
        this.backend = student.model().backend();
        int rows = batch * inputs.windows().length();
        int hidden = student.model().spec().hidden();
        inputs.prepare(block);
        long kept = ArenaPlan.kept(block, rows, hidden, student.positions(), backend);
        this.arena = backend.newArena(bytes(kept, rows, hidden));
    }

    /// Bytes of the arena that steps run in.
    ///
    /// @param kept what a tape keeps of a pass
    static long bytes(long kept, int rows, int hidden) {
        // Activations and their gradients; input, target, gradients of input and output.
        return 2 * kept + 5 * (4L * rows * hidden + 256) + 64L * rows + 8192;
    }

    /// Sums over elements.
    record Error(double squares, double targets) {
        /// Relative to the targets.
        double relative() {
            return RelativeError.of(squares, targets);
        }

        Error plus(Error other) {
            return new Error(squares + other.squares, targets + other.targets);
        }
    }

    /// Adds `scale` times the gradient of the relative error to the parameters' gradients.
    Error learn(int[] windows, float scale) {
        try (TensorArena step = arena.scratch()) {
            Tensor x = gathered(inputs, windows, step);
            Tensor target = gathered(targets, windows, step);
            Tape tape = new Tape(backend, step, java.util.List.of());
            student.watch(tape);
            Tensor y =
                    block.forward(
                            new Forward(
                                    backend,
                                    tape,
                                    tape.kept(),
                                    student.positions(),
                                    Tap.NONE,
                                    false),
                            x);
            double square = backend.squares(target) / target.shape().size();
            Tensor dy = tape.gradient(y);
            // A target of zeros has no size to relate an error to.
            float factor = (float) (scale / ((square > 0 ? square : 1) * y.rows()));
            Error error = error(dy, y, target, factor, step);
            tape.backward();
            return error;
        }
    }

    /// The error on windows that nobody learns from.
    Error measure(int[] windows) {
        try (TensorArena step = arena.scratch()) {
            Tensor x = gathered(inputs, windows, step);
            Tensor target = gathered(targets, windows, step);
            Tensor y = block.forward(new Forward(backend, step, student.positions()), x);
            return error(null, y, target, 0, step);
        }
    }

    private Tensor gathered(HiddenStates states, int[] windows, TensorArena step) {
        long rows = (long) windows.length * states.windows().length();
        Tensor t = step.allocate(DType.F32, new Shape(rows, student.model().spec().hidden()));
        states.gather(windows, t);
        return t;
    }

    private Error error(Tensor dy, Tensor y, Tensor target, float factor, TensorArena step) {
        Tensor losses = step.allocate(DType.F64, new Shape(y.rows()));
        backend.run(
                new LossOp.AccumulateHiddenLoss(
                        dy, losses, y, target, LossOp.Distance.MSE, factor));
        double squares = backend.sum(losses) * y.cols();
        return new Error(squares, backend.squares(target));
    }

    @Override
    public void close() {
        arena.close();
    }
}
