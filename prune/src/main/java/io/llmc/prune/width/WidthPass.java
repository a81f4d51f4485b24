// SPDX-License-Identifier: Apache-2.0
package io.llmc.prune.width;

import io.llmc.backend.CompressionOp;
import io.llmc.backend.Desk;
import io.llmc.backend.ForwardOp;
import io.llmc.model.LayerSpec;
import io.llmc.model.Linear;
import io.llmc.model.ModelSpec;
import io.llmc.model.Stage;
import io.llmc.model.structure.PruneGroup;
import io.llmc.model.structure.Size;
import io.llmc.pipeline.ModuleReport;
import io.llmc.pipeline.Option;
import io.llmc.pipeline.Options;
import io.llmc.pipeline.pass.BlockPass;
import io.llmc.pipeline.pass.BlockScope;
import io.llmc.pipeline.pass.PassFactory;
import io.llmc.pipeline.pass.StageInputs;
import io.llmc.pipeline.pass.Targets;
import io.llmc.prune.weights.Importance;
import io.llmc.prune.weights.Slices;
import io.llmc.prune.weights.SparseGptPass;
import io.llmc.solver.Factor;
import io.llmc.solver.Gram;
import io.llmc.solver.RelativeError;
import io.llmc.tensor.Tensor;
import io.llmc.tensor.Weight;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.SequencedMap;
import java.util.stream.Collectors;
import java.util.stream.IntStream;

/// Takes feed-forward channels, query heads and KV heads out of every block that has them, equally
/// many each, and refits what reads the rest.
///
///     - width: {ffn: 0.75, heads: 0.75, kvGroups: 1.0, importance: obs, rounds: 4, refit: true,
///               damping: 0.01, multipleOf: 64}
///
/// @param ffn channels that stay, of dense blocks and of experts; null for all
/// @param heads query heads that stay, equally many of each KV head; null for all
/// @param kvGroups KV heads that stay, each with its query heads; null for all
/// @param rounds in which `obs` removes them
/// @param refit the columns that stay are refitted by damped least squares on the layer's Hessian
/// @param damping added to the Hessian's diagonal, as a part of its mean
/// @param multipleOf sizes of feed-forwards are rounded to it
public record WidthPass(
        Part ffn,
        Part heads,
        Part kvGroups,
        Importance importance,
        int rounds,
        boolean refit,
        double damping,
        int multipleOf)
        implements BlockPass {
    private static final Option<String> FFN =
            Part.option(
                    "ffn",
                    "Feed-forward channels that stay, of experts too: a part of them, as 0.75, or"
                            + " their number.");

    private static final Option<String> HEADS =
            Part.option("heads", "Query heads that stay, equally many of each KV head.");

    private static final Option<String> KV_GROUPS =
            Part.option("kvGroups", "KV heads that stay, each with its query heads.");

    private static final Option<Importance> IMPORTANCE =
            Option.choice(
                    "importance",
                    Importance.class,
                    Importance.OBS,
                    "What counts: obs (default), the error that a removal leaves when the rest"
                            + " makes up for it; wanda; or activation.");

    private static final Option<Integer> ROUNDS =
            Option.integer("rounds", 4, "Rounds of removals, for obs (default: %s).").withoutFlag();

    private static final Option<Boolean> REFIT =
            Option.flag("refit", true, "Leave the weights that stay as they are.")
                    .flagged("--no-refit");

    private static final Option<Integer> MULTIPLE_OF =
            Option.integer("multipleOf", 64, "Round the number of channels to it (default: %s).");

    public static final PassFactory FACTORY =
            new PassFactory(
                    "width",
                    "fewer feed-forward channels and heads in every block, the rest refitted",
                    """
                    model: testdata/tale-llama
                    output: out
                    calibration: {data: testdata/tale-llama/calibration.txt, samples: 16, length: 256}
                    steps:
                      - sweep:
                          - width: {ffn: 0.75, importance: obs, multipleOf: 32}
                    """,
                    List.of(
                            SparseGptPass.DAMPING,
                            FFN,
                            HEADS,
                            KV_GROUPS,
                            IMPORTANCE,
                            ROUNDS,
                            REFIT,
                            MULTIPLE_OF),
                    WidthPass::read);

    private static BlockPass read(Options o) {
        WidthPass pass =
                new WidthPass(
                        Part.read(o, FFN),
                        Part.read(o, HEADS),
                        Part.read(o, KV_GROUPS),
                        IMPORTANCE.read(o),
                        ROUNDS.read(o),
                        REFIT.read(o),
                        SparseGptPass.DAMPING.read(o),
                        MULTIPLE_OF.read(o));
        if (pass.ffn == null && pass.heads == null && pass.kvGroups == null) {
            throw o.error("ffn", "width needs ffn, heads or kvGroups: what stays of them");
        }
        if (pass.rounds < 1 || pass.multipleOf < 1) {
            throw o.error("rounds", "rounds and multipleOf must be positive");
        }
        return pass;
    }

    @Override
    public String name() {
        return "width";
    }

    @Override
    public boolean calibrates() {
        return true;
    }

    @Override
    public Targets targets() {
        return Targets.ALL;
    }

    @Override
    public SequencedMap<String, Object> describe() {
        SequencedMap<String, Object> values = new LinkedHashMap<>();
        values.put("importance", Options.spelling(importance));
        values.put("refit", refit);
        values.put("damping", damping);
        return values;
    }

    private WidthSizes widths(ModelSpec spec) {
        return WidthSizes.of(spec, ffn, heads, kvGroups, multipleOf);
    }

    @Override
    public void check(ModelSpec spec) {
        widths(spec);
    }

    @Override
    public Map<Size, Integer> sizes(ModelSpec spec) {
        return widths(spec).kept();
    }

    @Override
    public long workBytes(long out, long in) {
        return Refit.scratchBytes(out, in) + 8 * out * in;
    }

    @Override
    public long inputBytes(long in) {
        return Gram.bytes(in);
    }

    @Override
    public void apply(BlockScope scope) {
        if (sizes(scope.spec()).isEmpty()) {
            return;
        }
        WidthSizes sizes = widths(scope.spec());
        Slices slices = new Slices(scope);
        Stage before = null;
        for (Stage stage : scope.stages()) {
            if (before != null) {
                scope.advance(before);
            }
            Map<String, List<PruneGroup>> read = read(scope.block().spec(), stage, sizes);
            if (!read.isEmpty()) {
                prune(scope, stage, read, sizes, slices);
            }
            before = stage;
        }
        scope.reshape(slices.replacement());
    }

    /// By layer of a stage the groups that are columns of it, where parts of them go.
    private static Map<String, List<PruneGroup>> read(
            LayerSpec layer, Stage stage, WidthSizes sizes) {
        Map<String, List<PruneGroup>> read =
                layer.pruneGroups().stream()
                        .filter(group -> !group.columns().isEmpty())
                        .collect(Collectors.groupingBy(g -> g.columns().getFirst().linear()));
        read.keySet().retainAll(stage.linears().stream().map(Linear::name).toList());
        read.values().removeIf(groups -> groups.stream().allMatch(sizes::keepsAll));
        return read;
    }

    /// Prunes the inputs of a stage's layers.
    private void prune(
            BlockScope scope,
            Stage stage,
            Map<String, List<PruneGroup>> read,
            WidthSizes sizes,
            Slices slices) {
        List<double[]> activity =
                importance == Importance.ACTIVATION ? activity(scope, stage) : null;
        try (StageInputs<Gram.Sum> inputs = StageInputs.observe(scope, stage, Gram::new)) {
            for (int i = 0; i < inputs.groups().size(); i++) {
                StageInputs.Group<Gram.Sum> g = inputs.groups().get(i);
                List<PruneGroup> groups = read.get(g.selected().getFirst().name());
                if (groups != null) {
                    PartChoice choice = new PartChoice(groups, sizes);
                    prune(scope, g, activity == null ? null : activity.get(i), choice, slices);
                }
            }
        }
    }

    private static List<double[]> activity(BlockScope scope, Stage stage) {
        try (StageInputs<double[]> inputs = Activity.observe(scope, stage)) {
            return inputs.groups().stream().map(StageInputs.Group::sum).toList();
        }
    }

    private void prune(
            BlockScope scope,
            StageInputs.Group<Gram.Sum> g,
            double[] activity,
            PartChoice choice,
            Slices slices) {
        long start = System.nanoTime();
        Linear layer = g.selected().getFirst();
        long out = layer.weight().outFeatures();
        int in = (int) g.in();
        boolean seen = g.sum().tokens() > 0;
        try (Desk d = scope.desk().fresh(4 * out * in + 4096);
                Desk scratch = d.fresh(Refit.scratchBytes(out, in))) {
            Tensor w = d.f32(out, in);
            d.run(new CompressionOp.Dequantize(w, layer.weight()));
            SequencedMap<PruneGroup, int[]> parts;
            try (Desk inner = scratch.scratch()) {
                Tensor h = seen ? g.sum().h() : identity(inner, in);
                double[] sizes = activity == null && !seen ? new double[in] : activity;
                Importance by = seen ? importance : Importance.WANDA;
                parts = choice.of(new UnitSelection(w, h, sizes, by, damping, rounds), inner);
            }
            int[] kept = choice.columns(parts);
            int[] removed = complement(kept, in);
            Factor factor;
            // Results are in the block's memory, which has no room for what makes them.
            Tensor columns = scope.desk().f32(out, kept.length);
            Tensor full = scope.desk().f32(out, in);
            try (Desk inner = scratch.scratch()) {
                factor = refit && seen ? Refit.factor(inner, g.sum().h(), kept, damping) : null;
                Tensor made = Refit.columns(inner, w, g.sum().h(), factor, kept, removed);
                d.run(new ForwardOp.Scale(columns, made, 1));
            }
            try (Desk inner = scratch.scratch()) {
                d.run(new ForwardOp.Scale(full, Refit.spread(inner, columns, kept, in), 1));
            }
            Errors errors;
            try (Desk inner = scratch.scratch()) {
                Tensor masked = masked(inner, w, kept, removed);
                double norm = Refit.squared(inner, w, null, g.sum().h());
                double plain = Refit.squared(inner, masked, w, g.sum().h());
                double error = Refit.squared(inner, full, w, g.sum().h());
                errors = new Errors(RelativeError.of(error, norm), RelativeError.of(plain, norm));
            }
            layer.replace(new Weight.Dense(full));
            slices.take(layer, parts, columns);
            double seconds = (System.nanoTime() - start) / 1e9;
            scope.report(report(g, choice.text(), factor, errors, seconds));
        }
    }

    private static Tensor masked(Desk d, Tensor w, int[] kept, int[] removed) {
        Tensor columns = Refit.columns(d, w, null, null, kept, removed);
        return Refit.spread(d, columns, kept, (int) w.cols());
    }

    /// @param plain without the refit
    private record Errors(double refitted, double plain) {}

    private ModuleReport report(
            StageInputs.Group<Gram.Sum> g,
            String what,
            Factor factor,
            Errors errors,
            double seconds) {
        SequencedMap<String, Object> values = new LinkedHashMap<>();
        List<String> warnings = new ArrayList<>();
        values.put("method", name());
        values.put("kept", what);
        if (g.sum().tokens() == 0) {
            warnings.add(
                    "saw no calibration token; what its weights say least for went, unrefitted");
        } else {
            values.put("relative_error", errors.refitted());
            values.put("uncompensated_error", errors.plain());
            if (refit && factor == null) {
                warnings.add("the Hessian has no Cholesky factor at any damping; not refitted");
            } else if (factor != null) {
                values.put("damping", factor.damping());
            }
        }
        values.put("tokens", g.sum().tokens());
        return new ModuleReport(g.selected().getFirst().name(), values, seconds, warnings);
    }

    private static int[] complement(int[] kept, int all) {
        boolean[] stays = new boolean[all];
        IntStream.of(kept).forEach(i -> stays[i] = true);
        return IntStream.range(0, all).filter(i -> !stays[i]).toArray();
    }

    /// For a layer whose inputs say nothing: every input counts the same.
    private static Tensor identity(Desk d, int n) {
        float[] values = new float[n * n];
        for (int i = 0; i < n; i++) {
            values[i * n + i] = 1;
        }
        return d.floats(values).reshape(n, n);
    }
}
