// SPDX-License-Identifier: Apache-2.0
package io.llmc.quantize;

import com.google.errorprone.annotations.MustBeClosed;
import io.llmc.backend.CompressionOp;
import io.llmc.backend.Desk;
import io.llmc.backend.StatisticOp;
import io.llmc.formats.Solver;
import io.llmc.formats.UserException;
import io.llmc.model.LayerSpec.LinearSpec;
import io.llmc.model.Linear;
import io.llmc.model.ModelSpec;
import io.llmc.model.Stage;
import io.llmc.pipeline.ModuleReport;
import io.llmc.pipeline.Options;
import io.llmc.pipeline.pass.BlockPass;
import io.llmc.pipeline.pass.BlockScope;
import io.llmc.pipeline.pass.PassFactory;
import io.llmc.pipeline.pass.StageInputs;
import io.llmc.pipeline.pass.Targets;
import io.llmc.solver.Drift;
import io.llmc.solver.Factor;
import io.llmc.solver.Pattern;
import io.llmc.tensor.ActivationScheme;
import io.llmc.tensor.Encoding;
import io.llmc.tensor.Scheme;
import io.llmc.tensor.Tensor;
import io.llmc.tensor.Tiles;
import io.llmc.tensor.Weight;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.SequencedMap;
import java.util.stream.IntStream;

/// GPTQ over calibration data, stage by stage, so that each layer sees the outputs of the quantized
/// layers before it. https://arxiv.org/abs/2210.17323
///
/// Inputs that were never active keep their weights, rounded to nearest: they say nothing about the
/// output, and zeroing them, as the reference does, would break inputs that calibration did not
/// show.
///
/// @param damping added to the Hessian's diagonal, as a part of its mean; raised by as much, at
///   least 0.01, until its Cholesky factor exists
/// @param shrinkage part by which the Hessian's elements off the diagonal are made smaller: what
///   few tokens say of how inputs go together is partly chance, and less so what they say of each
/// @param keepZeros weights that are exactly zero stay so; by `auto`, in layers that were pruned
/// @param pattern prunes in the same loop, as SparseGPT does with a grid; null for none
/// @param refit sweeps of coordinate descent over codes and scales after the loop
/// @param correction part of the way to the outputs of the original model; 0 keeps to those that
///   the weights have for the inputs that they meet
/// @param minExpertTokens experts with fewer are treated as `rareExperts` says
public record GptqPass(
        Scheme scheme,
        ActOrder actOrder,
        double damping,
        double shrinkage,
        int blockSize,
        Clip clip,
        CompressionOp.GridSearch search,
        RareExperts rareExperts,
        int minExpertTokens,
        KeepZeros keepZeros,
        Pattern pattern,
        int refit,
        double correction,
        Targets targets)
        implements BlockPass {
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
                    GptqOptions.ALL,
                    GptqOptions::read);

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

    boolean groupIndex() {
        return actOrder == ActOrder.GROUP && grid().tiles().cols() != Tiles.ALL;
    }

    Encoding.Grid<?> grid() {
        return (Encoding.Grid<?>) scheme.weights();
    }

    boolean ranged() {
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
        if (shrinkage > 0) {
            values.put("shrinkage", shrinkage);
        }
        values.put("block_size", blockSize);
        values.put("clip", Options.spelling(clip));
        if (refit > 0) {
            values.put("refit", refit);
        }
        if (correction > 0) {
            values.put("correction", correction);
        }
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
                keepZeros.of(scope.desk(), layer.weight()),
                refit);
    }

    @Override
    public boolean compares() {
        return correction > 0;
    }

    @Override
    public long workBytes(long out, long in) {
        long more = compares() ? Correction.scratchBytes(out, in) : 0;
        return Math.max(more, GptqMath.scratchBytes(out, in, blockSize)) + hessianBytes(in);
    }

    /// Bytes of a factor, and of the Hessian that it is made of where that is another.
    private long hessianBytes(long in) {
        return Factor.bytes(in) + (shrinkage > 0 ? 4 * in * in + 256 : 0);
    }

    /// What errors are measured with: the Gram matrix, or it with weaker correlations.
    private Tensor hessian(Desk d, Tensor gram) {
        if (shrinkage == 0) {
            return gram;
        }
        Tensor h = d.f32(gram.rows(), gram.cols());
        d.run(new StatisticOp.ShrinkCorrelations(h, gram, (float) (1 - shrinkage)));
        return h;
    }

    @Override
    public long inputBytes(long in, int hidden) {
        return compares() ? Drift.bytes(in, hidden) : InputSums.bytes(in, ranged());
    }

    @Override
    public void apply(BlockScope scope) {
        LayerGrids grids = new LayerGrids(scope, scheme);
        for (Stage stage : scope.stages()) {
            // Two models may send a token to different experts.
            if (compares() && !stage.routed()) {
                correct(scope, grids, stage);
            } else {
                for (List<List<Linear>> groups : together(stage)) {
                    try (StageInputs<InputSums.Sum> inputs = observed(scope, stage, groups)) {
                        for (StageInputs.Group<InputSums.Sum> g : inputs.groups()) {
                            quantize(scope, grids, g, stage.routed());
                        }
                    }
                }
            }
            scope.advance(stage);
        }
    }

    /// A Hessian is larger than the expert that it is for, so that those of all would be most of
    /// what a block takes.
    @Override
    public int expertsTogether() {
        return 16;
    }

    private List<List<List<Linear>>> together(Stage stage) {
        List<List<Linear>> groups = stage.groups();
        int at = stage.routed() ? expertsTogether() : groups.size();
        return IntStream.iterate(0, i -> i < groups.size(), i -> i + at)
                .mapToObj(i -> groups.subList(i, Math.min(groups.size(), i + at)))
                .toList();
    }

    @MustBeClosed
    private StageInputs<InputSums.Sum> observed(
            BlockScope scope, Stage stage, List<List<Linear>> groups) {
        return StageInputs.observe(scope, stage, groups, in -> new InputSums(in, ranged()));
    }

    private void correct(BlockScope scope, LayerGrids grids, Stage stage) {
        Map<String, Float> writers = scope.block().spec().writers();
        int hidden = scope.spec().hidden();
        boolean writes = stage.linears().stream().anyMatch(l -> writers.containsKey(l.name()));
        try (StageInputs<Drift.Sum> inputs =
                StageInputs.observePairs(scope, stage, in -> new Drift(in, hidden, writes))) {
            for (StageInputs.Group<Drift.Sum> g : inputs.groups()) {
                correct(scope, g);
                var sums = new InputSums.Sum(g.sum().gram(), null);
                quantize(
                        scope, grids, new StageInputs.Group<>(g.name(), g.selected(), sums), false);
            }
        }
    }

    /// Layers get the weights that are to be rounded. Correlations are taken as they are: along
    /// what many inputs have in common a correction by weaker ones would go too far.
    private void correct(BlockScope scope, StageInputs.Group<Drift.Sum> g) {
        try (Desk d = scope.desk().fresh(Factor.bytes(g.in()))) {
            Drift.Sum drift = g.sum();
            Factor factor = Factor.of(d, drift.gram().h(), damping, actOrder != ActOrder.NONE);
            if (factor == null) {
                return; // whoever rounds says so
            }
            for (Linear layer : g.selected()) {
                Weight own = layer.weight();
                Tensor corrected = scope.desk().f32(own.outFeatures(), own.inFeatures());
                float scale = scope.block().spec().writers().getOrDefault(layer.name(), 1f);
                Correction.apply(
                        scope.desk(), corrected, own, drift, factor, (float) correction, scale);
                // Who refines the codes begins with what they stand for, too.
                layer.replace(new Weight.Dense(corrected));
            }
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
        try (Desk d = scope.desk().fresh(hessianBytes(g.in()))) {
            Tensor h = hessian(d, g.sum().h());
            Factor factor = Factor.of(d, h, damping, actOrder != ActOrder.NONE);
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
                                h,
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
                            null,
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
