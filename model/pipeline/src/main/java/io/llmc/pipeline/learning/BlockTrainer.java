// SPDX-License-Identifier: Apache-2.0
package io.llmc.pipeline.learning;

import com.google.errorprone.annotations.MustBeClosed;
import io.llmc.backend.Backend;
import io.llmc.backend.LossOp;
import io.llmc.backend.TensorArena;
import io.llmc.model.ArenaPlan;
import io.llmc.model.DecoderBlock;
import io.llmc.model.Forward;
import io.llmc.model.Positions;
import io.llmc.model.Tap;
import io.llmc.model.Tape;
import io.llmc.pipeline.pass.HiddenStates;
import io.llmc.solver.RelativeError;
import io.llmc.tensor.DType;
import io.llmc.tensor.Shape;
import io.llmc.tensor.Tensor;
import java.util.List;
import java.util.function.Consumer;

/// A block learns to give what others give for the same sequences: an error of its outputs, and the
/// gradients of that.
///
/// By [LossOp.Distance#MSE] it is the squared error over the square of the target, all tokens
/// together. A few tokens, which attention falls back on, can be a thousand times as large as the
/// others and then decide alone. By [LossOp.Distance#COSINE] all tokens count the same.
public final class BlockTrainer implements AutoCloseable {
    private final Backend backend;
    private final DecoderBlock block;
    private final HiddenStates inputs;
    private final HiddenStates targets;
    private final LossOp.Distance distance;
    private final Positions positions;
    private final TensorArena arena;

    /// @param inputs of the block, window by window
    /// @param targets the same windows, as the block should hand them on
    /// @param batch windows that are learnt from at a time, at most
    @MustBeClosed
    @SuppressWarnings("MustBeClosed") // closed by close()
    public BlockTrainer(
            DecoderBlock block,
            HiddenStates inputs,
            HiddenStates targets,
            LossOp.Distance distance,
            int batch) {
        this.distance = distance;
        this.block = block;
        this.inputs = inputs;
        this.targets = targets;
        this.backend = inputs.backend();
        this.positions = inputs.positions();
        int rows = batch * inputs.windows().length();
        inputs.prepare(block);
        long kept = ArenaPlan.kept(block, rows, inputs.width(), positions, backend);
        this.arena = backend.newArena(bytes(kept, rows, inputs.width()));
    }

    /// Bytes of the arena that steps run in.
    ///
    /// @param kept what a tape keeps of a pass
    public static long bytes(long kept, int rows, int hidden) {
        // Activations and their gradients; input, target, gradients of input and output.
        return 2 * kept + 5 * (4L * rows * hidden + 256) + 64L * rows + 8192;
    }

    /// A sum, and what it is relative to.
    public record Error(double sum, double whole) {
        public double relative() {
            return RelativeError.of(sum, whole);
        }

        public Error plus(Error other) {
            return new Error(sum + other.sum, whole + other.whole);
        }
    }

    /// Adds `scale` times the gradient of the relative error to what a tape's sources hold.
    ///
    /// @param watch tells the tape what learns
    public Error learn(int[] windows, float scale, Consumer<Tape> watch) {
        try (TensorArena step = arena.scratch()) {
            Tensor x = gathered(inputs, windows, step);
            Tensor target = gathered(targets, windows, step);
            Tape tape = new Tape(backend, step, List.of());
            watch.accept(tape);
            Tensor y =
                    block.forward(
                            new Forward(backend, tape, tape.kept(), positions, Tap.NONE, false), x);
            Tensor dy = tape.gradient(y);
            float factor = (float) (scale / (size(target) * y.rows()));
            Error error = error(dy, y, target, factor, step);
            tape.backward();
            return error;
        }
    }

    /// The error as it is.
    public Error measure(int[] windows) {
        try (TensorArena step = arena.scratch()) {
            Tensor x = gathered(inputs, windows, step);
            Tensor target = gathered(targets, windows, step);
            Tensor y = block.forward(new Forward(backend, step, positions), x);
            return error(null, y, target, 0, step);
        }
    }

    private Tensor gathered(HiddenStates states, int[] windows, TensorArena step) {
        long rows = (long) windows.length * states.windows().length();
        Tensor t = step.allocate(DType.F32, new Shape(rows, states.width()));
        states.gather(windows, t);
        return t;
    }

    /// What the distance of a row is related to.
    private double size(Tensor target) {
        return switch (distance) {
            case MSE -> {
                double square = backend.squares(target) / target.shape().size();
                // A target of zeros has no size to relate an error to.
                yield square > 0 ? square : 1;
            }
            case COSINE -> 1;
        };
    }

    private Error error(Tensor dy, Tensor y, Tensor target, float factor, TensorArena step) {
        Tensor losses = step.allocate(DType.F64, new Shape(y.rows()));
        backend.run(new LossOp.AccumulateHiddenLoss(dy, losses, y, target, distance, factor));
        double sum = backend.sum(losses);
        return switch (distance) {
            case MSE -> new Error(sum * y.cols(), backend.squares(target));
            case COSINE -> new Error(sum, y.rows());
        };
    }

    @Override
    public void close() {
        arena.close();
    }
}
