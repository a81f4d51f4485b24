// SPDX-License-Identifier: Apache-2.0
package io.llmc.pipeline;

import io.llmc.backend.ForwardOp;
import io.llmc.model.Linear;
import io.llmc.model.Stage;
import io.llmc.pipeline.pass.BlockPass;
import io.llmc.pipeline.pass.BlockScope;
import io.llmc.pipeline.pass.PassFactory;
import io.llmc.pipeline.pass.Targets;
import io.llmc.pipeline.sweep.SweepStep;
import io.llmc.tensor.DType;
import io.llmc.tensor.Tensor;
import io.llmc.tensor.Weight;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.SequencedMap;

/// A method that halves weights: all that a sweep does around a method can be seen from it.
///
/// @param heard receives `name block`
public record Halving(String name, boolean calibrates, Targets targets, List<String> heard)
        implements BlockPass {
    static final String TEXT = "calibration.txt";

    private static final Option<List<String>> ONLY =
            Option.list("targets", "GLOBS", "Layers to halve.");

    /// Of recipes: `halve`, and `watch`, which reads calibration data.
    static List<Step.Factory> steps(List<String> heard) {
        List<PassFactory> methods =
                List.of(factory("halve", false, heard), factory("watch", true, heard));
        return List.of(SweepStep.factory(methods));
    }

    private static PassFactory factory(String name, boolean calibrates, List<String> heard) {
        return new PassFactory(
                name,
                "halves",
                "",
                List.of(ONLY),
                o -> new Halving(name, calibrates, Targets.of(ONLY.read(o), List.of()), heard));
    }

    @SafeVarargs
    static Map<String, Object> sweep(Map<String, Object>... methods) {
        return Map.of("sweep", List.of(methods));
    }

    @Override
    public SequencedMap<String, Object> describe() {
        return new LinkedHashMap<>();
    }

    @Override
    public long workBytes(long out, long in) {
        return 0;
    }

    @Override
    public void apply(BlockScope scope) {
        heard.add(name + " " + scope.index());
        for (Stage stage : scope.stages()) {
            for (Linear layer : stage.linears()) {
                if (scope.selected(layer)) {
                    Weight w = layer.weight();
                    Tensor half = scope.desk().allocate(DType.F32, w.outFeatures(), w.inFeatures());
                    scope.run(new ForwardOp.Scale(half, ((Weight.Dense) w).values(), 0.5f));
                    scope.replace(layer, new Weight.Dense(half));
                    scope.report(
                            new ModuleReport(layer.name(), new LinkedHashMap<>(), 0, List.of()));
                }
            }
            if (calibrates) {
                scope.advance(stage);
            }
        }
    }
}
