// SPDX-License-Identifier: Apache-2.0
package io.llmc.quantize.learn;

import com.google.errorprone.annotations.MustBeClosed;
import io.llmc.backend.Desk;
import io.llmc.backend.LossOp;
import io.llmc.backend.OptimizerOp;
import io.llmc.formats.UserException;
import io.llmc.model.Linear;
import io.llmc.model.Tape;
import io.llmc.pipeline.learning.BlockTrainer;
import io.llmc.pipeline.pass.BlockScope;
import io.llmc.tensor.Weight;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Random;
import java.util.stream.IntStream;

/// Learns the rounding of one block's layers together: from what the compressed blocks before it
/// give, the block shall give what the original model's blocks give (SignRound, Cheng et al., 2023,
/// arXiv 2309.05516). It begins with the codes and scales that another pass has found. Where
/// SignRound takes the squared error, here all tokens count the same.
final class BlockLearner implements AutoCloseable {
    private final BlockScope scope;
    private final LearnSettings settings;
    private final Desk desk;
    private final BlockTrainer trainer;
    private final List<LearnedLayer> layers = new ArrayList<>();
    private final int[] windows;

    /// @param found cosine distance of the block's output from the original's, the mean of all
    ///   tokens
    /// @param learnt the same after the last step
    record Result(double found, double learnt) {
        /// What gets worse is not kept.
        boolean better() {
            return learnt < found;
        }
    }

    /// @param packed layers of the block, at least one
    @MustBeClosed
    @SuppressWarnings("MustBeClosed") // closed by close()
    BlockLearner(BlockScope scope, List<Linear> packed, LearnSettings settings) {
        this.scope = scope;
        this.settings = settings;
        int count = scope.inputs().windows().count();
        this.windows = IntStream.range(0, count).toArray();
        long bytes =
                packed.stream()
                        .map(Linear::weight)
                        .mapToLong(w -> LearnedLayer.bytes(w.outFeatures(), w.inFeatures()))
                        .sum();
        this.desk = scope.desk().fresh(bytes);
        for (Linear linear : packed) {
            var begun = (Weight.Grouped) linear.weight();
            layers.add(new LearnedLayer(desk, linear, begun, scope.plain(linear)));
        }
        this.trainer =
                new BlockTrainer(
                        scope.block(),
                        scope.inputs(),
                        scope.originals(),
                        LossOp.Distance.COSINE,
                        settings.batch(count));
    }

    List<LearnedLayer> layers() {
        return layers;
    }

    Result learn() {
        double found = measured();
        int[] order = {};
        Random random = new Random(settings.seed() * 31 + scope.index());
        int batch = settings.batch(windows.length);
        for (int step = 0, at = 0; step < settings.steps(); step++, at += batch) {
            if (at + batch > order.length) {
                order = shuffled(random);
                at = 0;
            }
            int[] chosen = Arrays.copyOfRange(order, at, at + batch);
            requireFinite(trainer.learn(chosen, 1, this::watch), step);
            OptimizerOp.SignSpec rates = settings.at(step);
            layers.forEach(layer -> layer.step(rates));
        }
        return new Result(found, measured());
    }

    private void watch(Tape tape) {
        layers.forEach(layer -> layer.watch(tape));
    }

    private void requireFinite(BlockTrainer.Error error, int step) {
        if (!Double.isFinite(error.relative())) {
            throw new UserException(
                    "%s: the error is no finite number in step %d"
                            .formatted(scope.block().spec().prefix(), step + 1),
                    "lower {rate}, and check the original with llmc eval");
        }
    }

    /// All sequences, in an order of their own.
    private int[] shuffled(Random random) {
        int[] order = windows.clone();
        for (int i = order.length - 1; i > 0; i--) {
            int j = random.nextInt(i + 1);
            int other = order[i];
            order[i] = order[j];
            order[j] = other;
        }
        return order;
    }

    private double measured() {
        var error = new BlockTrainer.Error(0, 0);
        int batch = settings.batch(windows.length);
        for (int from = 0; from < windows.length; from += batch) {
            int to = Math.min(windows.length, from + batch);
            error = error.plus(trainer.measure(Arrays.copyOfRange(windows, from, to)));
        }
        return error.relative();
    }

    @Override
    public void close() {
        trainer.close();
        desk.close();
    }
}
