// SPDX-License-Identifier: Apache-2.0
package io.llmc.quantize.scales;

import io.llmc.backend.CompressionOp;
import io.llmc.backend.Desk;
import io.llmc.backend.ForwardOp;
import io.llmc.model.DecoderBlock;
import io.llmc.model.LayerSpec;
import io.llmc.model.LayerSpec.LinearSpec;
import io.llmc.model.Linear;
import io.llmc.model.Stage;
import io.llmc.model.Tap;
import io.llmc.model.language.LanguageModel;
import io.llmc.model.language.Replacement;
import io.llmc.model.structure.ScaleGroup;
import io.llmc.pipeline.pass.BlockScope;
import io.llmc.pipeline.pass.Sample;
import io.llmc.tensor.Encoding;
import io.llmc.tensor.InputRounding;
import io.llmc.tensor.Scheme;
import io.llmc.tensor.Tensor;
import io.llmc.tensor.Weight;
import java.util.HashMap;
import java.util.IdentityHashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.function.Predicate;
import java.util.stream.IntStream;

/// Finds scales for the channels of a block on a sample of the sequences, and folds them into what
/// makes the channels.
///
/// All groups are searched on the block as it was, as the reference implementation of AWQ has it
/// (mit-han-lab/llm-awq), so that no search depends on another: a single layer on its own output,
/// several on what the branch gives that they are in.
final class ChannelScales {
    private final BlockScope scope;
    private final Sample sample;

    /// Null where nothing is tried.
    private final Sample trials;

    private final Plan plan;
    private final Method method;

    /// @param seen tokens that channels are looked at with; where scales are tried, no more than
    ///   [HiddenStates] moves together, so that a layer's inputs come at once
    /// @param tried tokens that scales are tried on; 0 where none are
    /// @param which groups are scaled
    record Plan(int seen, int tried, Predicate<Readers> which) {}

    /// How scales are found.
    @FunctionalInterface
    interface Method {
        /// @param trial tells what scales would cost; null where nothing is tried
        /// @return scales of the channels, which inputs are divided by; empty to leave them
        Optional<float[]> scales(Group group, Seen seen, Trial trial);
    }

    /// @param rounded those of the layers that the pass works on and that will be rounded
    record Group(Readers readers, List<Linear> rounded) {}

    private ChannelScales(
            BlockScope scope, Sample sample, Sample trials, Plan plan, Method method) {
        this.scope = scope;
        this.sample = sample;
        this.trials = trials;
        this.plan = plan;
        this.method = method;
    }

    static void fold(BlockScope scope, Plan plan, Method method) {
        Map<ScaleGroup, float[]> factors = new LinkedHashMap<>();
        try (Sample sample = scope.sample(plan.seen());
                Sample trials = plan.tried() == 0 ? null : scope.trials(plan.tried())) {
            if (trials != null && sample.chunks() > 1) {
                throw new IllegalArgumentException("a sample of one chunk is needed for trials");
            }
            var search = new ChannelScales(scope, sample, trials, plan, method);
            List<Group> all =
                    Readers.of(scope.block()).stream()
                            .filter(plan.which())
                            .map(search::group)
                            .filter(g -> !g.rounded().isEmpty())
                            .toList();
            List<Stage> stages = scope.stages();
            int last = last(stages, all);
            for (int i = 0; i <= last; i++) {
                Stage stage = stages.get(i);
                List<Group> here =
                        all.stream().filter(g -> g.readers().from().equals(stage)).toList();
                search.scales(stage, here, i < last)
                        .forEach((g, s) -> factors.put(g.readers().group(), inverse(s)));
                if (trials != null && i < last) {
                    trials.advance(stage);
                }
            }
        }
        if (!factors.isEmpty()) {
            scope.rescale(factors);
        }
    }

    /// The last of the stages that some group reads in; -1 where there is no group.
    private static int last(List<Stage> stages, List<Group> groups) {
        return groups.stream().mapToInt(g -> stages.indexOf(g.readers().from())).max().orElse(-1);
    }

    private Group group(Readers readers) {
        return new Group(
                readers,
                readers.layers().stream().filter(l -> grid(scope, l).isPresent()).toList());
    }

    /// The grid that a layer will be rounded on, where the pass works on it.
    static Optional<Encoding.Grid<?>> grid(BlockScope scope, Linear layer) {
        return scope.planned(layer)
                .filter(_ -> scope.selected(layer))
                .map(Scheme::weights)
                .flatMap(w -> w instanceof Encoding.Grid<?> g ? Optional.of(g) : Optional.empty());
    }

    static float[] inverse(float[] scales) {
        float[] inverse = new float[scales.length];
        for (int c = 0; c < scales.length; c++) {
            inverse[c] = 1 / scales[c];
        }
        return inverse;
    }

    /// Weights stay what they are until all are searched.
    ///
    /// @param on takes the sample through the stage, which only shows its inputs otherwise
    private Map<Group, float[]> scales(Stage stage, List<Group> here, boolean on) {
        Map<Group, float[]> found = new LinkedHashMap<>();
        Map<Group, Seen> seen = new IdentityHashMap<>();
        Tap tap =
                (layers, x) -> {
                    for (Group g : here) {
                        if (layers.stream().anyMatch(g.readers().layers()::contains)) {
                            seen.computeIfAbsent(g, _ -> new Seen((int) x.cols()))
                                    .see(scope.desk(), x);
                            if (g.readers().layers().size() == 1) {
                                alone(g, seen.get(g), x).ifPresent(s -> found.put(g, s));
                            }
                        }
                    }
                };
        if (on) {
            sample.advance(stage, tap);
        } else {
            sample.observe(stage, tap);
        }
        for (Group g : here) {
            // Experts that no token was sent to have shown nothing.
            if (g.readers().layers().size() > 1 && seen.containsKey(g)) {
                together(g, seen.get(g)).ifPresent(s -> found.put(g, s));
            }
        }
        return found;
    }

    private Optional<float[]> alone(Group g, Seen seen, Tensor x) {
        if (trials == null) {
            return method.scales(g, seen, null);
        }
        Linear layer = g.rounded().getFirst();
        long out = layer.weight().outFeatures();
        long rows = Math.min(plan.tried(), x.rows());
        // One room for all trials: memory that is new costs more than what is done in it.
        try (Desk d = scope.desk().fresh(4 * rows * (x.cols() + out) + 2048);
                Desk room = scope.desk().fresh(aloneBytes(out, x.cols(), rows))) {
            Tensor some = rows(d, x, plan.tried());
            Tensor given = d.f32(some.rows(), out);
            d.run(new ForwardOp.Matmul(given, some, layer.weight()));
            return method.scales(g, seen, s -> error(g, seen, some, given, s, room));
        }
    }

    /// @param given what the layer makes of x
    private double error(Group g, Seen seen, Tensor x, Tensor given, float[] scales, Desk room) {
        Linear layer = g.rounded().getFirst();
        Weight w = layer.weight();
        float[] columns = g.readers().columns(scales);
        try (Desk d = room.scratch()) {
            Tensor trial = d.f32(w.outFeatures(), w.inFeatures());
            Tensor inputs = d.f32(x.rows(), x.cols());
            Tensor out = d.f32(given.rows(), given.cols());
            Tensor factors = d.floats(columns);
            Tensor inverse = d.floats(inverse(columns));
            Optional<InputRounding> rounding = rounding(d, layer, seen, columns);
            d.run(new CompressionOp.ScaleColumns(trial, dense(layer), factors));
            Rounding.round(d, trial, grid(scope, layer).orElseThrow());
            d.run(new CompressionOp.ScaleColumns(inputs, x, inverse));
            rounding.ifPresent(r -> Rounding.inputs(d, inputs, r));
            d.run(new ForwardOp.Matmul(out, inputs, new Weight.Dense(trial)));
            d.run(new ForwardOp.Add(out, out, given, -1));
            return d.backend().squares(out);
        }
    }

    private static long aloneBytes(long out, long in, long rows) {
        return 4 * out * in + 4 * rows * (in + out) + 8 * in + (1 << 12);
    }

    private Optional<float[]> together(Group g, Seen seen) {
        if (trials == null) {
            return method.scales(g, seen, null);
        }
        long bytes =
                togetherBytes(
                        g.readers().layers().stream()
                                .mapToLong(l -> l.weight().outFeatures() * l.weight().inFeatures())
                                .sum(),
                        scope.block().parameters().values().stream()
                                .mapToLong(Tensor::byteSize)
                                .sum());
        try (Sample.Stretch stretch = trials.stretch(g.readers().from(), g.readers().to());
                Desk room = scope.desk().fresh(bytes)) {
            return method.scales(g, seen, s -> error(g, seen, stretch, s, room));
        }
    }

    private double error(Group g, Seen seen, Sample.Stretch stretch, float[] scales, Desk room) {
        float[] columns = g.readers().columns(scales);
        DecoderBlock block = scope.block();
        try (Desk d = room.scratch()) {
            Replacement trial = scope.replacement();
            trial.rescale(g.readers().group(), inverse(scales), d);
            for (Linear layer : g.rounded()) {
                Tensor w = ((Weight.Dense) trial.weight(layer.name())).values();
                Rounding.round(d, w, grid(scope, layer).orElseThrow());
                rounding(d, layer, seen, columns).ifPresent(r -> trial.put(layer.name(), r));
            }
            return stretch.error(LanguageModel.block(block.spec(), scope.spec().hidden(), trial));
        }
    }

    private static long togetherBytes(long weights, long parameters) {
        return 4 * weights + parameters + (1 << 16);
    }

    /// How the layer's inputs will be rounded, once they are divided by scales.
    private Optional<InputRounding> rounding(Desk d, Linear layer, Seen seen, float[] columns) {
        float[] maxima = seen.maxima();
        double most =
                IntStream.range(0, maxima.length)
                        .mapToDouble(c -> maxima[c] / columns[c])
                        .max()
                        .orElse(0);
        return scope.planned(layer)
                .flatMap(Scheme::inputs)
                .map(s -> Rounding.ofInputs(d, s, (float) most));
    }

    static Tensor dense(Linear layer) {
        if (layer.weight() instanceof Weight.Dense(Tensor values)) {
            return values;
        }
        throw new IllegalArgumentException(layer.name() + " is already on a grid");
    }

    /// At most so many rows, spread evenly.
    static Tensor rows(Desk d, Tensor x, int most) {
        if (x.rows() <= most) {
            return x;
        }
        int stride = Math.toIntExact(Math.ceilDiv(x.rows(), most));
        int count = Math.toIntExact(Math.ceilDiv(x.rows(), stride));
        Tensor some = d.f32(count, x.cols());
        int[] each = IntStream.range(0, count).map(i -> i * stride).toArray();
        try (Desk own = d.fresh(4L * count + 1024)) {
            d.run(new ForwardOp.GatherRows(some, x, own.ints(each)));
        }
        return some;
    }

    /// Bytes that a search takes for one layer.
    static long layerBytes(long out, long in, int tokens) {
        return aloneBytes(out, in, tokens) + 4L * tokens * (in + out) + (1 << 13);
    }

    /// Bytes that a search takes for layers that read the same channels.
    static long blockBytes(LayerSpec layer, int hidden) {
        Map<String, LinearSpec> byName = new HashMap<>();
        layer.linears(hidden).forEach(l -> byName.put(l.name(), l));
        long weights =
                layer.scaleGroups().stream()
                        .mapToLong(g ->
                                g.readers().stream()
                                        .filter(byName::containsKey)
                                        .map(byName::get)
                                        .mapToLong(l -> l.out() * l.in())
                                        .sum())
                        .max()
                        .orElse(0);
        long routers = layer.routers(hidden).stream().mapToLong(l -> 4 * l.out() * l.in()).sum();
        return togetherBytes(weights, routers + 64L * hidden);
    }
}
