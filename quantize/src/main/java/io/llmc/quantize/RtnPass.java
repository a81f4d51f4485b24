// SPDX-License-Identifier: Apache-2.0
package io.llmc.quantize;

import io.llmc.backend.CompressionOp;
import io.llmc.formats.Solver;
import io.llmc.formats.UserException;
import io.llmc.model.LayerSpec.LinearSpec;
import io.llmc.model.Linear;
import io.llmc.model.Stage;
import io.llmc.pipeline.ModuleReport;
import io.llmc.pipeline.Option;
import io.llmc.pipeline.Options;
import io.llmc.pipeline.pass.BlockPass;
import io.llmc.pipeline.pass.BlockScope;
import io.llmc.pipeline.pass.PassFactory;
import io.llmc.pipeline.pass.StageInputs;
import io.llmc.pipeline.pass.Targets;
import io.llmc.tensor.ActivationScheme;
import io.llmc.tensor.Scheme;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Optional;
import java.util.SequencedMap;

/// Round-to-nearest: the baseline that every other quantizer must beat. Needs data only for scales
/// of inputs that do not change with them.
///
/// @param clip [Clip#MSE] or [Clip#NONE]: there is no Hessian to weigh errors by
public record RtnPass(Scheme scheme, Clip clip, CompressionOp.GridSearch search, Targets targets)
        implements BlockPass {
    private static final Option<Clip> CLIP =
            Option.choice(
                    "clip",
                    Clip.class,
                    Clip.NONE,
                    "Search each group's range before rounding: mse or none (default: %s).");

    static final PassFactory FACTORY =
            new PassFactory(
                    "rtn",
                    "round to nearest; no calibration data, unless inputs have static scales",
                    """
                    model: testdata/tale-llama
                    output: out
                    steps:
                      - sweep:
                          - rtn: {bits: 4, groupSize: 64, symmetric: true, clip: mse}
                    save: {layout: compressed-tensors}
                    """,
                    Option.join(
                            GridOptions.SCHEMES,
                            List.of(CLIP),
                            GridOptions.SEARCH,
                            Targets.OPTIONS),
                    RtnPass::read);

    private static BlockPass read(Options o) {
        Scheme scheme = GridOptions.scheme(o);
        GridOptions.requireIntegers(o, scheme, Option.join(List.of(CLIP), GridOptions.SEARCH));
        Clip clip = CLIP.read(o);
        if (clip == Clip.HESSIAN) {
            throw o.error("clip", "clip is hessian, but rtn has no Hessian; expected mse or none");
        }
        return new RtnPass(scheme, clip, GridOptions.search(o, scheme), Targets.read(o));
    }

    @Override
    public String name() {
        return "rtn";
    }

    @Override
    public boolean calibrates() {
        return scheme.inputs().map(ActivationScheme::calibrated).orElse(false);
    }

    @Override
    public Optional<Scheme> scheme(LinearSpec linear) {
        return Optional.of(scheme);
    }

    @Override
    public Optional<Solver> solver() {
        return Optional.of(new Solver("rtn", 0, Solver.Order.STORED, false, false));
    }

    @Override
    public SequencedMap<String, Object> describe() {
        SequencedMap<String, Object> values = new LinkedHashMap<>();
        values.put("clip", Options.spelling(clip));
        return values;
    }

    @Override
    public long workBytes(long out, long in) {
        return RtnMath.scratchBytes(scheme.weights(), out, in);
    }

    @Override
    public long inputBytes(long in) {
        return calibrates() ? InputRange.BYTES : 0;
    }

    @Override
    public void apply(BlockScope scope) {
        LayerGrids grids = new LayerGrids(scope, scheme);
        if (!calibrates()) {
            scope.stages().stream()
                    .flatMap(s -> s.linears().stream())
                    .filter(scope::selected)
                    .forEach(layer -> round(scope, layer, grids, 0));
            return;
        }
        for (Stage stage : scope.stages()) {
            try (StageInputs<InputRange.Seen> inputs =
                    StageInputs.observe(scope, stage, _ -> new InputRange())) {
                for (StageInputs.Group<InputRange.Seen> g : inputs.groups()) {
                    float largest = g.sum().largest();
                    g.selected().forEach(layer -> round(scope, layer, grids, largest));
                }
            }
            scope.advance(stage);
        }
    }

    /// @param largest input that the layer has; 0 where nobody looked
    private void round(BlockScope scope, Linear layer, LayerGrids grids, float largest) {
        long start = System.nanoTime();
        RtnMath.Result result =
                RtnMath.quantize(
                        scope.desk(),
                        layer.weight(),
                        grids.of(layer),
                        clip == Clip.MSE ? search : null,
                        false);
        if (Double.isNaN(result.error())) {
            throw new UserException(
                    layer.name() + " has weights that are not finite numbers",
                    "look at the checkpoint, or leave the layer out by {targets}");
        }
        grids.replace(layer, result.weight(), largest);
        SequencedMap<String, Object> values = new LinkedHashMap<>();
        values.put("method", "rtn");
        values.put("relative_weight_error", result.error());
        double seconds = (System.nanoTime() - start) / 1e9;
        scope.report(new ModuleReport(layer.name(), values, seconds, List.of()));
    }
}
