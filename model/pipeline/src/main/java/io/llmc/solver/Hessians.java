// SPDX-License-Identifier: Apache-2.0
package io.llmc.solver;

import com.google.errorprone.annotations.MustBeClosed;
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

/// `x^T x` over the calibration inputs of a stage's layers, once for the layers that share an
/// input.
public final class Hessians implements AutoCloseable {
    private final List<Group> groups;
    private final TensorArena arena;

    /// Layers with one input, so one Hessian.
    public static final class Group {
        private final Linear first;
        private final List<Linear> selected;
        private Tensor hessian;
        private long tokens;

        private Group(Linear first, List<Linear> selected) {
            this.first = first;
            this.selected = selected;
        }

        public long in() {
            return first.weight().inFeatures();
        }

        /// What to call it.
        public String name() {
            return first.name();
        }

        /// Those that the pass works on.
        public List<Linear> selected() {
            return selected;
        }

        /// F32 `[in, in]`
        public Tensor hessian() {
            return hessian;
        }

        public long tokens() {
            return tokens;
        }
    }

    private Hessians(List<Group> groups, TensorArena arena) {
        this.groups = groups;
        this.arena = arena;
    }

    /// Runs the calibration sequences up to the stage's inputs.
    @MustBeClosed
    @SuppressWarnings("MustBeClosed") // closed by close()
    public static Hessians observe(BlockScope scope, Stage stage) {
        List<Group> groups = new ArrayList<>();
        for (List<Linear> layers : stage.groups()) {
            List<Linear> selected = layers.stream().filter(scope::selected).toList();
            if (!selected.isEmpty()) {
                groups.add(new Group(layers.getFirst(), selected));
            }
        }
        long bytes = groups.stream().mapToLong(g -> 4 * g.in() * g.in() + 256).sum();
        Hessians hessians = new Hessians(groups, scope.backend().newArena(bytes));
        Map<Linear, Group> byFirst = new IdentityHashMap<>();
        for (Group g : groups) {
            g.hessian = hessians.arena.allocate(DType.F32, new Shape(g.in(), g.in()));
            byFirst.put(g.first, g);
        }
        if (!groups.isEmpty()) {
            scope.observe(
                    stage,
                    (layers, x) -> {
                        Group g = byFirst.get(layers.getFirst());
                        if (g != null) {
                            g.tokens += x.rows();
                            scope.run(new StatisticOp.AccumulateGram(g.hessian, x, 1));
                        }
                    });
        }
        return hessians;
    }

    public List<Group> groups() {
        return groups;
    }

    /// Whether the stage's layers are experts, each with its own tokens.
    public boolean experts() {
        return groups.size() > 1;
    }

    @Override
    public void close() {
        arena.close();
    }
}
