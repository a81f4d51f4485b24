// SPDX-License-Identifier: Apache-2.0
package io.llmc.quantize;

import io.llmc.backend.CompressionOp;
import io.llmc.backend.Desk;
import io.llmc.formats.Solver;
import io.llmc.formats.UserException;
import io.llmc.model.LayerSpec.LinearSpec;
import io.llmc.model.Linear;
import io.llmc.model.ModelSpec;
import io.llmc.model.Stage;
import io.llmc.pipeline.ModuleReport;
import io.llmc.pipeline.Option;
import io.llmc.pipeline.Options;
import io.llmc.pipeline.pass.BlockPass;
import io.llmc.pipeline.pass.BlockScope;
import io.llmc.pipeline.pass.PassFactory;
import io.llmc.pipeline.pass.StageInputs;
import io.llmc.pipeline.pass.Targets;
import io.llmc.solver.Factor;
import io.llmc.solver.Pattern;
import io.llmc.tensor.ActivationScheme;
import io.llmc.tensor.Codes;
import io.llmc.tensor.Encoding;
import io.llmc.tensor.Scheme;
import io.llmc.tensor.Tiles;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Optional;
import java.util.SequencedMap;

/// GPTQ over calibration data, stage by stage, so that each layer sees the outputs of the quantized
/// layers before it. https://arxiv.org/abs/2210.17323
///
/// Inputs that were never active keep their weights, rounded to nearest: they say nothing about the
/// output, and zeroing them, as the reference does, would break inputs that calibration did not
/// show.
///
/// @param damping added to the Hessian's diagonal, as a part of its mean; raised by as much, at
///   least 0.01, until its Cholesky factor exists
/// @param keepZeros weights that are exactly zero stay so; by `auto`, in layers that were pruned
/// @param pattern prunes in the same loop, as SparseGPT does with a grid; null for none
/// @param minExpertTokens experts with fewer are treated as `rareExperts` says
public record GptqPass(
        Scheme scheme,
        ActOrder actOrder,
        double damping,
        int blockSize,
        Clip clip,
        CompressionOp.GridSearch search,
        RareExperts rareExperts,
        int minExpertTokens,
        KeepZeros keepZeros,
        Pattern pattern,
        Targets targets)
        implements BlockPass {
    private static final Option<Clip> CLIP =
            Option.choice(
                    "clip",
                    Clip.class,
                    Clip.HESSIAN,
                    "Search each group's range before rounding: hessian, mse or none (default:"
                            + " %s).");

    private static final Option<ActOrder> ACT_ORDER =
            Option.choice(
                    "actOrder",
                    ActOrder.class,
                    ActOrder.STATIC,
                    "Round important columns first: static keeps groups contiguous, group does not,"
                            + " none keeps the order of the columns (default: %s).");

    private static final Option<Double> DAMPING =
            Option.decimal(
                            "damping",
                            0.01,
                            "Added to the Hessian's diagonal, as a part of its mean (default: %s).")
                    .within("0 to 1", d -> d >= 0 && d < 1);

    private static final Option<Integer> BLOCK_SIZE =
            Option.integer("blockSize", 128, "Columns rounded at once (default: %s).")
                    .withoutFlag()
                    .within("a positive number", n -> n >= 1);

    private static final Option<RareExperts> RARE_EXPERTS =
            Option.choice(
                    "rareExperts",
                    RareExperts.class,
                    RareExperts.RTN,
                    "An expert that saw too few tokens is rounded to nearest (rtn) or is an error"
                            + " (fail) (default: %s).");

    private static final Option<Integer> MIN_EXPERT_TOKENS =
            Option.integer(
                    "minExpertTokens",
                    128,
                    "Fewer tokens than this make an expert rare (default: %s).");

    private static final Option<KeepZeros> KEEP_ZEROS =
            Option.choice(
                    "keepZeros",
                    KeepZeros.class,
                    KeepZeros.AUTO,
                    "Weights that are zero stay zero: auto, in layers that were pruned; always or"
                            + " never (default: %s).");

    private static final Option<String> FORM =
            Option.text(
                            "pattern",
                            "unstructured",
                            "Prune in the same loop: N:M, as 2:4, with act-order none; or unstructured,"
                                    + " with a sparsity (default: do not prune).")
                    .as("P");

    private static final Option<Double> SPARSITY =
            Option.decimal(
                            "sparsity",
                            null,
                            "Part of the weights to zero in the same loop, 0 to 1.")
                    .within("0 to 1", s -> s >= 0 && s <= 1);

    static final PassFactory FACTORY =
            new PassFactory(
                    "gptq",
                    "GPTQ with static act-order and a search of each group's range",
                    """
                    model: testdata/tale-llama
                    output: out
                    calibration: {data: testdata/tale-llama/calibration.txt, samples: 16, length: 256}
                    steps:
                      - sweep:
                          - gptq: {bits: 4, groupSize: 64, actOrder: static, damping: 0.01, clip: hessian}
                    save: {layout: compressed-tensors}
                    """,
                    Option.join(
                            GridOptions.SCHEMES,
                            List.of(CLIP, ACT_ORDER, DAMPING, BLOCK_SIZE),
                            GridOptions.SEARCH,
                            List.of(RARE_EXPERTS, MIN_EXPERT_TOKENS, KEEP_ZEROS, FORM, SPARSITY),
                            Targets.OPTIONS),
                    GptqPass::read);

    private static BlockPass read(Options o) {
        GptqPass pass =
                new GptqPass(
                        GridOptions.scheme(o),
                        ACT_ORDER.read(o),
                        DAMPING.read(o),
                        BLOCK_SIZE.read(o),
                        CLIP.read(o),
                        GridOptions.search(o),
                        RARE_EXPERTS.read(o),
                        MIN_EXPERT_TOKENS.read(o),
                        KEEP_ZEROS.read(o),
                        Pattern.read(o, FORM, SPARSITY),
                        Targets.read(o));
        if (pass.groupIndex() && !(pass.grid().codes() instanceof Codes.Ints)) {
            throw o.error(
                    "actOrder",
                    "actOrder is group, and no layout says the group of each input for %s; use static or none"
                            .formatted(pass.grid().describe()));
        }
        if (pass.pattern instanceof Pattern.NOfM(_, int m)) {
            if (pass.actOrder != ActOrder.NONE) {
                throw o.error(
                        "pattern",
                        "pattern %s needs neighbours in their order: set actOrder to none"
                                .formatted(pass.pattern));
            }
            if (pass.blockSize % m != 0) {
                throw o.error(
                        "blockSize",
                        "blockSize is %d, expected a multiple of %d".formatted(pass.blockSize, m));
            }
        }
        return pass;
    }

    @Override
    public void check(ModelSpec spec) {
        if (pattern != null) {
            pattern.check(spec, targets);
        }
    }

    @Override
    public String name() {
        return "gptq";
    }

    @Override
    public boolean calibrates() {
        return true;
    }

    @Override
    public long expertTokens() {
        return minExpertTokens;
    }

    @Override
    public boolean refusesRareExperts() {
        return rareExperts == RareExperts.FAIL;
    }

    @Override
    public Optional<Scheme> scheme(LinearSpec linear) {
        return Optional.of(scheme);
    }

    @Override
    public Optional<Solver> solver() {
        Solver.Order order =
                order() == ActOrder.NONE ? Solver.Order.STORED : Solver.Order.ACTIVATIONS;
        return Optional.of(new Solver("gptq", damping, order, groupIndex(), true));
    }

    private boolean groupIndex() {
        return actOrder == ActOrder.GROUP && grid().tiles().cols() != Tiles.ALL;
    }

    private Encoding.Grid<?> grid() {
        return (Encoding.Grid<?>) scheme.weights();
    }

    private boolean ranged() {
        return scheme.inputs().map(ActivationScheme::calibrated).orElse(false);
    }

    /// A whole row is one group in any order.
    private ActOrder order() {
        return actOrder == ActOrder.GROUP && !groupIndex() ? ActOrder.STATIC : actOrder;
    }

    @Override
    public SequencedMap<String, Object> describe() {
        SequencedMap<String, Object> values = new LinkedHashMap<>();
        values.put("act_order", Options.spelling(order()));
        values.put("damping", damping);
        values.put("block_size", blockSize);
        values.put("clip", Options.spelling(clip));
        if (pattern != null) {
            values.put("pattern", pattern.toString());
            values.put("sparsity", pattern.sparsity());
        }
        return values;
    }

    private GptqMath.Settings settings(BlockScope scope, Linear layer) {
        return new GptqMath.Settings(
                order(),
                blockSize,
                clip == Clip.NONE ? null : search,
                clip == Clip.HESSIAN,
                pattern,
                keepZeros.of(scope.desk(), layer.weight()));
    }

    @Override
    public long workBytes(long out, long in) {
        return GptqMath.scratchBytes(out, in, blockSize) + Factor.bytes(in);
    }

    @Override
    public long inputBytes(long in) {
        return InputSums.bytes(in, ranged());
    }

    @Override
    public void apply(BlockScope scope) {
        LayerGrids grids = new LayerGrids(scope, scheme);
        for (Stage stage : scope.stages()) {
            try (StageInputs<InputSums.Sum> inputs =
                    StageInputs.observe(scope, stage, in -> new InputSums(in, ranged()))) {
                for (StageInputs.Group<InputSums.Sum> g : inputs.groups()) {
                    quantize(scope, grids, g, stage.routed());
                }
            }
            scope.advance(stage);
        }
    }

    private void quantize(
            BlockScope scope,
            LayerGrids grids,
            StageInputs.Group<InputSums.Sum> g,
            boolean expert) {
        if (expert && g.sum().tokens() < minExpertTokens) {
            roundToNearest(scope, grids, g, rare(g));
            return;
        }
        try (Desk d = scope.desk().fresh(Factor.bytes(g.in()))) {
            Factor factor = Factor.of(d, g.sum().h(), damping, actOrder != ActOrder.NONE);
            if (factor == null) {
                roundToNearest(
                        scope, grids, g, "the Hessian has no Cholesky factor at any damping");
                return;
            }
            for (Linear layer : g.selected()) {
                long start = System.nanoTime();
                GptqMath.Result result =
                        GptqMath.quantize(
                                scope.desk(),
                                layer.weight(),
                                grids.of(layer),
                                g.sum().h(),
                                factor,
                                settings(scope, layer));
                grids.replace(layer, result.weight(), g.sum().largest());
                double seconds = (System.nanoTime() - start) / 1e9;
                scope.report(report(layer, g, factor, result, seconds));
            }
        }
    }

    private String rare(StageInputs.Group<InputSums.Sum> g) {
        String what =
                "saw %d calibration tokens of at least %d"
                        .formatted(g.sum().tokens(), minExpertTokens);
        if (rareExperts == RareExperts.FAIL) {
            throw new UserException(
                    g.name() + " " + what,
                    "add calibration data, lower {minExpertTokens}, or pass {rareExperts} rtn");
        }
        return what;
    }

    private void roundToNearest(
            BlockScope scope, LayerGrids grids, StageInputs.Group<InputSums.Sum> g, String why) {
        for (Linear layer : g.selected()) {
            long start = System.nanoTime();
            RtnMath.Result result =
                    RtnMath.quantize(
                            scope.desk(),
                            layer.weight(),
                            grids.of(layer),
                            clip == Clip.NONE ? null : search,
                            groupIndex());
            grids.replace(layer, result.weight(), g.sum().largest());
            SequencedMap<String, Object> values = new LinkedHashMap<>();
            values.put("method", "rtn");
            values.put("relative_weight_error", result.error());
            values.put("tokens", g.sum().tokens());
            double seconds = (System.nanoTime() - start) / 1e9;
            List<String> warnings = List.of(why + "; rounded to nearest");
            scope.report(new ModuleReport(layer.name(), values, seconds, warnings));
        }
    }

    private ModuleReport report(
            Linear layer,
            StageInputs.Group<InputSums.Sum> g,
            Factor factor,
            GptqMath.Result result,
            double seconds) {
        SequencedMap<String, Object> values = new LinkedHashMap<>();
        values.put("method", "gptq");
        values.put("relative_error", result.error());
        values.put("rtn_relative_error", result.rtnError());
        if (result.sparsity() > 0) {
            values.put("sparsity", result.sparsity());
        }
        values.put("damping", factor.damping());
        values.put("damping_raises", factor.raises());
        values.put("dead_inputs", factor.deadInputs());
        values.put("tokens", g.sum().tokens());
        List<String> warnings = new ArrayList<>();
        if (factor.raises() > 0) {
            warnings.add(
                    "damping was raised from %s to %.2f until the Hessian had a Cholesky factor"
                            .formatted(damping, factor.damping()));
        }
        if (result.error() > result.rtnError() && pattern == null) {
            warnings.add(
                    "relative error %.3g is above that of rounding to nearest, %.3g"
                            .formatted(result.error(), result.rtnError()));
        }
        return new ModuleReport(layer.name(), values, seconds, warnings);
    }
}
