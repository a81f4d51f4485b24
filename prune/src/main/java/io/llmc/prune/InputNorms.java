// SPDX-License-Identifier: Apache-2.0
package io.llmc.prune;

import com.google.errorprone.annotations.MustBeClosed;
import io.llmc.backend.Backend;
import io.llmc.backend.ForwardOp;
import io.llmc.backend.StatisticOp;
import io.llmc.backend.TensorArena;
import io.llmc.model.Linear;
import io.llmc.model.Stage;
import io.llmc.pipeline.BlockScope;
import io.llmc.tensor.DType;
import io.llmc.tensor.Shape;
import io.llmc.tensor.Tensor;
import java.util.ArrayList;
import java.util.IdentityHashMap;
import java.util.List;
import java.util.Map;

/// The root mean square of every input of a stage's layers over the calibration tokens, and a few
/// of these tokens to measure errors with.
final class InputNorms implements AutoCloseable {
    /// Tokens kept to measure errors with: few enough to cost little beside a forward pass.
    private static final int SAMPLE = 512;

    private final List<Group> groups = new ArrayList<>();
    private final TensorArena arena;

    /// Layers with one input.
    static final class Group {
        private final List<Linear> selected;
        private final Tensor squares;
        private final Tensor sample;
        private long tokens;

        private Group(List<Linear> selected, Tensor squares, Tensor sample) {
            this.selected = selected;
            this.squares = squares;
            this.sample = sample;
        }

        /// Those that the pass works on.
        List<Linear> selected() {
            return selected;
        }

        long tokens() {
            return tokens;
        }

        /// The first inputs, F32 `[tokens, in]`.
        Tensor sample() {
            return sample.rows(0, Math.min(tokens, SAMPLE));
        }

        /// `sqrt(mean_t x[t,i]^2)`
        float[] norms(Backend backend) {
            double[] sums = backend.doubles(squares);
            float[] norms = new float[sums.length];
            for (int i = 0; i < norms.length; i++) {
                norms[i] = (float) Math.sqrt(sums[i] / Math.max(1, tokens));
            }
            return norms;
        }

        private void add(BlockScope scope, Tensor x) {
            scope.run(new StatisticOp.AccumulateColumnNorms(squares, x, 2));
            if (tokens < SAMPLE) {
                long rows = Math.min(x.rows(), SAMPLE - tokens);
                scope.run(
                        new ForwardOp.Scale(
                                sample.rows(tokens, tokens + rows), x.rows(0, rows), 1));
            }
            tokens += x.rows();
        }
    }

    /// Bytes of the sums and the sample of layers that share their inputs.
    static long bytes(long in) {
        return (8 + 4L * SAMPLE) * in + 512;
    }

    /// Bytes of measuring an error with the sample.
    static long errorBytes(long out) {
        return 12L * SAMPLE * out + 16L * SAMPLE + 8192;
    }

    private InputNorms(TensorArena arena) {
        this.arena = arena;
    }

    /// Runs the calibration sequences up to the stage's inputs.
    @MustBeClosed
    @SuppressWarnings("MustBeClosed") // closed by close()
    static InputNorms observe(BlockScope scope, Stage stage) {
        List<List<Linear>> wanted = new ArrayList<>();
        for (List<Linear> layers : stage.groups()) {
            if (layers.stream().anyMatch(scope::selected)) {
                wanted.add(layers);
            }
        }
        long bytes =
                wanted.stream()
                        .mapToLong(
                                g -> (8 + 4L * SAMPLE) * g.getFirst().weight().inFeatures() + 512)
                        .sum();
        InputNorms norms = new InputNorms(scope.backend().newArena(bytes + 4096));
        Map<Linear, Group> byFirst = new IdentityHashMap<>();
        for (List<Linear> layers : wanted) {
            long in = layers.getFirst().weight().inFeatures();
            Group g =
                    new Group(
                            layers.stream().filter(scope::selected).toList(),
                            norms.arena.allocate(DType.F64, new Shape(in)),
                            norms.arena.allocate(DType.F32, new Shape(SAMPLE, in)));
            norms.groups.add(g);
            byFirst.put(layers.getFirst(), g);
        }
        if (!wanted.isEmpty()) {
            scope.observe(
                    stage,
                    (layers, x) -> {
                        Group g = byFirst.get(layers.getFirst());
                        if (g != null) {
                            g.add(scope, x);
                        }
                    });
        }
        return norms;
    }

    List<Group> groups() {
        return groups;
    }

    @Override
    public void close() {
        arena.close();
    }
}
