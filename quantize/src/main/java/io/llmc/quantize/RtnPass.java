// SPDX-License-Identifier: Apache-2.0
package io.llmc.quantize;

import io.llmc.backend.CompressionOp;
import io.llmc.backend.Desk;
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
import io.llmc.pipeline.pass.Sample;
import io.llmc.pipeline.pass.StageInputs;
import io.llmc.pipeline.pass.Targets;
import io.llmc.quantize.scales.AwqPass;
import io.llmc.tensor.ActivationScheme;
import io.llmc.tensor.Codes;
import io.llmc.tensor.Encoding;
import io.llmc.tensor.Scheme;
import io.llmc.tensor.Tensor;
import io.llmc.tensor.Weight;
import java.util.IdentityHashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.SequencedMap;

/// Round-to-nearest: the baseline that every other quantizer must beat. Needs data only for scales
/// of inputs that do not change with them, and where ranges are searched by outputs.
///
/// @param clip not [Clip#HESSIAN]: there is no Hessian to weigh errors by
/// @param stated whether somebody chose `clip`
public record RtnPass(
        Scheme scheme, Clip clip, boolean stated, CompressionOp.GridSearch search, Targets targets)
        implements BlockPass {
    /// Tokens by which ranges are searched, where a sequence is not longer.
    private static final int TOKENS = 2048;

    private static final Option<Clip> CLIP =
            Option.choice(
                    "clip",
                    Clip.class,
                    Clip.NONE,
                    "Search each group's range before rounding: output, by what the layer makes of"
                            + " calibration data, mse, by the weights alone, or none (default: %s;"
                            + " output behind awq).");

    static final PassFactory FACTORY =
            new PassFactory(
                    "rtn",
                    "round to nearest; no calibration data, unless clip is output or inputs have static scales",
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
            throw o.error(
                    "clip",
                    "clip is hessian, but rtn has no Hessian; expected output, mse or none");
        }
        CompressionOp.GridSearch search = GridOptions.search(o, scheme);
        if (clip == Clip.OUTPUT && search.norm() != 2) {
            throw o.error(
                    "clipNorm",
                    "clipNorm is %s, but errors of outputs are squared; leave it out, or clip by mse"
                            .formatted(search.norm()));
        }
        return new RtnPass(scheme, clip, o.has("clip"), search, Targets.read(o));
    }

    /// Ranges are part of what AWQ searches.
    @Override
    public BlockPass behind(List<BlockPass> before) {
        boolean searches =
                !stated
                        && scheme.weights() instanceof Encoding.Grid<?>(Codes.Ints _, _, _)
                        && search.norm() == 2
                        && before.stream().anyMatch(p -> p instanceof AwqPass awq && awq.clamp());
        return searches ? new RtnPass(scheme, Clip.OUTPUT, true, search, targets) : this;
    }

    @Override
    public String name() {
        return "rtn";
    }

    @Override
    public boolean calibrates() {
        return ranged() || clip == Clip.OUTPUT;
    }

    /// Whether inputs have static scales.
    private boolean ranged() {
        return scheme.inputs().map(ActivationScheme::calibrated).orElse(false);
    }

    @Override
    public int sampleTokens() {
        return clip == Clip.OUTPUT ? TOKENS : 0;
    }

    @Override
    public boolean wantsAllSequences() {
        return ranged();
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
        long work = RtnMath.scratchBytes(scheme.weights(), out, in);
        return clip == Clip.OUTPUT ? work + GroupGrams.bytes(in, width(in)) : work;
    }

    private int width(long in) {
        return Math.toIntExact(((Encoding.Grid<?>) scheme.weights()).tiles().width(in));
    }

    @Override
    public long inputBytes(long in) {
        return ranged() ? InputRange.BYTES : 0;
    }

    @Override
    public void apply(BlockScope scope) {
        LayerGrids grids = new LayerGrids(scope, scheme);
        if (!calibrates()) {
            scope.stages().stream()
                    .flatMap(s -> s.linears().stream())
                    .filter(scope::selected)
                    .forEach(layer -> grids.replace(layer, rounded(scope, layer, grids, null), 0));
            return;
        }
        try (Sample sample = clip == Clip.OUTPUT ? scope.sample(TOKENS) : null) {
            for (Stage stage : scope.stages()) {
                Map<Linear, Float> largest = ranged() ? largest(scope, stage) : Map.of();
                Map<Linear, Weight> byOutputs =
                        sample == null ? Map.of() : byOutputs(scope, stage, grids, sample);
                for (Linear layer : stage.linears()) {
                    if (scope.selected(layer)) {
                        // Experts that the sample does not reach are rounded by their weights
                        // alone.
                        Weight weight =
                                byOutputs.containsKey(layer)
                                        ? byOutputs.get(layer)
                                        : rounded(scope, layer, grids, null);
                        grids.replace(layer, weight, largest.getOrDefault(layer, 0f));
                    }
                }
                if (sample != null) {
                    sample.advance(stage);
                }
                if (ranged()) {
                    scope.advance(stage);
                }
            }
        }
    }

    /// The largest input that each layer has.
    private static Map<Linear, Float> largest(BlockScope scope, Stage stage) {
        Map<Linear, Float> largest = new IdentityHashMap<>();
        try (StageInputs<InputRange.Seen> inputs =
                StageInputs.observe(scope, stage, _ -> new InputRange())) {
            for (StageInputs.Group<InputRange.Seen> g : inputs.groups()) {
                g.selected().forEach(layer -> largest.put(layer, g.sum().largest()));
            }
        }
        return largest;
    }

    /// The layers whose inputs the sample shows, on ranges that cost their outputs least.
    private Map<Linear, Weight> byOutputs(
            BlockScope scope, Stage stage, LayerGrids grids, Sample sample) {
        Map<Linear, Weight> rounded = new IdentityHashMap<>();
        sample.observe(
                stage,
                (layers, x) -> {
                    List<Linear> mine = layers.stream().filter(scope::selected).toList();
                    if (mine.isEmpty() || x.rows() == 0) {
                        return;
                    }
                    int width = width(x.cols());
                    long bytes = GroupGrams.bytes(x.cols(), width);
                    try (Desk d = scope.desk().fresh(bytes)) {
                        Tensor grams = GroupGrams.of(d, x, width);
                        mine.forEach(l -> rounded.put(l, rounded(scope, l, grids, grams)));
                    }
                });
        return rounded;
    }

    /// @param grams as [GroupGrams] has them; null where weights alone are looked at
    private Weight rounded(BlockScope scope, Linear layer, LayerGrids grids, Tensor grams) {
        long start = System.nanoTime();
        RtnMath.Result result =
                RtnMath.quantize(
                        scope.desk(),
                        layer.weight(),
                        grids.of(layer),
                        grams,
                        clip == Clip.NONE ? null : search,
                        false);
        if (Double.isNaN(result.error())) {
            throw new UserException(
                    layer.name() + " has weights that are not finite numbers",
                    "look at the checkpoint, or leave the layer out by {targets}");
        }
        SequencedMap<String, Object> values = new LinkedHashMap<>();
        values.put("method", "rtn");
        values.put("relative_weight_error", result.error());
        double seconds = (System.nanoTime() - start) / 1e9;
        scope.report(new ModuleReport(layer.name(), values, seconds, List.of()));
        return result.weight();
    }
}
