// SPDX-License-Identifier: Apache-2.0
package io.llmc.quantize;

import io.llmc.backend.CompressionOp;
import io.llmc.formats.Solver;
import io.llmc.model.LayerSpec.LinearSpec;
import io.llmc.model.Linear;
import io.llmc.pipeline.ModuleReport;
import io.llmc.pipeline.Option;
import io.llmc.pipeline.Options;
import io.llmc.pipeline.pass.BlockPass;
import io.llmc.pipeline.pass.BlockScope;
import io.llmc.pipeline.pass.PassFactory;
import io.llmc.pipeline.pass.Targets;
import io.llmc.tensor.Codes;
import io.llmc.tensor.Encoding;
import io.llmc.tensor.ScaleKind;
import io.llmc.tensor.Scheme;
import io.llmc.tensor.Tiles;
import io.llmc.tensor.Weight;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Optional;
import java.util.SequencedMap;

/// Round-to-nearest: needs no data, and is the baseline that every other quantizer must beat.
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
                    "round to nearest; no calibration data",
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
        return new RtnPass(scheme, clip, GridOptions.search(o), Targets.read(o));
    }

    @Override
    public String name() {
        return "rtn";
    }

    @Override
    public boolean calibrates() {
        return false;
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
        return RtnMath.scratchBytes(out, in);
    }

    @Override
    public void apply(BlockScope scope) {
        List<Linear> layers =
                scope.stages().stream()
                        .flatMap(s -> s.linears().stream())
                        .filter(scope::selected)
                        .toList();
        for (Linear layer : layers) {
            long start = System.nanoTime();
            double error = round(scope, layer);
            SequencedMap<String, Object> values = new LinkedHashMap<>();
            values.put("method", "rtn");
            values.put("relative_weight_error", error);
            scope.report(
                    new ModuleReport(
                            layer.name(), values, (System.nanoTime() - start) / 1e9, List.of()));
        }
    }

    /// @return squared error over squared weights
    private double round(BlockScope scope, Linear layer) {
        if (!(layer.weight() instanceof Weight.Dense dense
                && scheme.weights()
                        instanceof Encoding.Grid<?>(Codes codes, Tiles tiles, ScaleKind scales))) {
            throw new IllegalArgumentException(layer.name() + " is already on a grid");
        }
        return switch (codes) {
            case Codes.Ints ints -> {
                RtnMath.Result result =
                        RtnMath.quantize(
                                scope.desk(),
                                dense,
                                scope.grid(layer, new Encoding.Grid<>(ints, tiles, scales)),
                                clip == Clip.MSE ? search : null,
                                false);
                scope.replace(layer, result.weight());
                yield result.error();
            }
            case Codes.Floats floats -> {
                FloatMath.Result result =
                        FloatMath.quantize(
                                scope.desk(),
                                dense,
                                scope.grid(layer, new Encoding.Grid<>(floats, tiles, scales)));
                scope.replace(layer, result.weight());
                yield result.error();
            }
        };
    }
}
