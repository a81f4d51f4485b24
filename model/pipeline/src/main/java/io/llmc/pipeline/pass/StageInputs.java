// SPDX-License-Identifier: Apache-2.0
package io.llmc.pipeline.pass;

import com.google.errorprone.annotations.MustBeClosed;
import io.llmc.backend.Desk;
import io.llmc.model.Linear;
import io.llmc.model.Stage;
import io.llmc.tensor.Tensor;
import java.util.ArrayList;
import java.util.IdentityHashMap;
import java.util.List;
import java.util.Map;
import java.util.function.LongFunction;

/// What was added up of the calibration inputs of a stage, once for the layers that share an input.
public final class StageInputs<S> implements AutoCloseable {
    private final SumTree<LayerInput, Map<Linear, S>> sums;
    private final List<Group<S>> groups = new ArrayList<>();

    /// Layers with one input.
    ///
    /// @param name what to call it
    /// @param selected those that the pass works on
    public record Group<S>(String name, List<Linear> selected, S sum) {
        public long in() {
            return selected.getFirst().weight().inFeatures();
        }
    }

    /// Runs the calibration sequences up to the stage's inputs, unless no layer there is selected.
    ///
    /// @param observer of an input of so many columns
    @MustBeClosed
    public static <S> StageInputs<S> observe(
            BlockScope scope, Stage stage, LongFunction<Observer<Tensor, S>> observer) {
        return observe(scope, stage, stage.groups(), observer);
    }

    /// The same for some of the stage's groups.
    @MustBeClosed
    public static <S> StageInputs<S> observe(
            BlockScope scope,
            Stage stage,
            List<List<Linear>> groups,
            LongFunction<Observer<Tensor, S>> observer) {
        return new StageInputs<>(scope, stage, groups, in -> new Own<>(observer.apply(in)), false);
    }

    /// The same beside what the original model's layers read; not for routed stages.
    @MustBeClosed
    public static <S> StageInputs<S> observePairs(
            BlockScope scope, Stage stage, LongFunction<Observer<LayerInput, S>> observer) {
        return new StageInputs<>(scope, stage, stage.groups(), observer, true);
    }

    /// Sees nothing but the input itself.
    private record Own<S>(Observer<Tensor, S> observer) implements Observer<LayerInput, S> {
        @Override
        public long bytes() {
            return observer.bytes();
        }

        @Override
        public S empty(Desk d) {
            return observer.empty(d);
        }

        @Override
        public S see(S s, LayerInput input) {
            return observer.see(s, input.x());
        }

        @Override
        public S merge(S a, S b) {
            return observer.merge(a, b);
        }
    }

    @SuppressWarnings("MustBeClosed") // closed by close()
    private StageInputs(
            BlockScope scope,
            Stage stage,
            List<List<Linear>> some,
            LongFunction<Observer<LayerInput, S>> observer,
            boolean pairs) {
        List<List<Linear>> wanted =
                some.stream().filter(layers -> layers.stream().anyMatch(scope::selected)).toList();
        Map<Linear, Observer<LayerInput, S>> byFirst = new IdentityHashMap<>();
        for (List<Linear> layers : wanted) {
            Linear first = layers.getFirst();
            byFirst.put(first, observer.apply(first.weight().inFeatures()));
        }
        if (wanted.isEmpty()) {
            sums = null;
            return;
        }
        SideBySide<S> all = new SideBySide<>(byFirst);
        sums = pairs ? scope.observePairs(stage, all) : scope.observe(stage, all);
        Map<Linear, S> found = sums.total();
        for (List<Linear> layers : wanted) {
            Linear first = layers.getFirst();
            List<Linear> selected = layers.stream().filter(scope::selected).toList();
            groups.add(new Group<>(first.name(), selected, found.get(first)));
        }
    }

    public List<Group<S>> groups() {
        return groups;
    }

    @Override
    public void close() {
        if (sums != null) {
            sums.close();
        }
    }

    /// Observers of single inputs, by the first of the layers that read each.
    private record SideBySide<S>(Map<Linear, Observer<LayerInput, S>> byFirst)
            implements Observer<LayerInput, Map<Linear, S>> {
        @Override
        public long bytes() {
            return byFirst.values().stream().mapToLong(Observer::bytes).sum();
        }

        @Override
        public Map<Linear, S> empty(Desk d) {
            Map<Linear, S> all = new IdentityHashMap<>();
            byFirst.forEach((first, observer) -> all.put(first, observer.empty(d)));
            return all;
        }

        @Override
        public Map<Linear, S> see(Map<Linear, S> all, LayerInput input) {
            Linear first = input.layers().getFirst();
            Observer<LayerInput, S> observer = input.gates() == null ? byFirst.get(first) : null;
            if (observer != null) {
                all.put(first, observer.see(all.get(first), input));
            }
            return all;
        }

        @Override
        public Map<Linear, S> merge(Map<Linear, S> a, Map<Linear, S> b) {
            byFirst.forEach(
                    (first, observer) -> a.put(first, observer.merge(a.get(first), b.get(first))));
            return a;
        }
    }
}
