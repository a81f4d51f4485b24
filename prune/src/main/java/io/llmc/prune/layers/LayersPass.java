// SPDX-License-Identifier: Apache-2.0
package io.llmc.prune.layers;

import io.llmc.formats.UserException;
import io.llmc.formats.checkpoint.Checkpoint;
import io.llmc.model.ModelSpec;
import io.llmc.model.arch.Architectures;
import io.llmc.pipeline.ModuleReport;
import io.llmc.pipeline.Option;
import io.llmc.pipeline.Options;
import io.llmc.pipeline.pass.HeadLoss;
import io.llmc.pipeline.pass.ModelPass;
import io.llmc.pipeline.pass.ModelScope;
import io.llmc.pipeline.pass.PassFactory;
import java.math.BigDecimal;
import java.math.MathContext;
import java.math.RoundingMode;
import java.util.Arrays;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.SequencedMap;
import java.util.stream.IntStream;

/// Drops whole decoder blocks, those that the model misses least: depth pruning. What is left is a
/// model of the same family with fewer layers.
///
///     - layers: {drop: 6, score: block-influence}
///     - layers: {layers: [20, 21, 22]}
///
/// @param drop how many blocks go; 0 where they are listed
/// @param score how they are chosen; null where they are listed
/// @param layers indices of the blocks that go, from 0; empty where they are chosen
public record LayersPass(int drop, LayerScore score, List<Integer> layers) implements ModelPass {
    private static final MathContext DIGITS = new MathContext(6, RoundingMode.HALF_EVEN);

    private static final Option<Integer> DROP =
            Option.integer("drop", null, "Number of blocks to drop.")
                    .within("at least 1", n -> n >= 1);

    private static final Option<LayerScore> SCORE =
            Option.choice(
                    "score",
                    LayerScore.class,
                    LayerScore.BLOCK_INFLUENCE,
                    "Block-influence (default) drops the blocks that turn their input least; angular,"
                            + " a run of blocks that does; greedy, one by one, the block without which"
                            + " perplexity is best, each at the cost of about half as many passes as"
                            + " there are blocks.");

    private static final Option<List<String>> LAYERS =
            Option.list(
                    "layers",
                    "LIST",
                    "The blocks to drop, from 0, as 20,21,22; instead of a number to drop, and"
                            + " without calibration data.");

    public static final PassFactory FACTORY =
            new PassFactory(
                    "layers",
                    "drops whole blocks, chosen by influence, angle or perplexity, or listed",
                    """
                    model: testdata/tale-llama
                    output: out
                    calibration: {data: testdata/tale-llama/calibration.txt, samples: 16, length: 256}
                    steps:
                      - sweep:
                          - layers: {drop: 1, score: greedy}
                    """,
                    List.of(DROP, SCORE, LAYERS),
                    LayersPass::read);

    private static ModelPass read(Options o) {
        boolean counts = o.has("drop");
        boolean scores = o.has("score");
        List<Integer> layers = indices(o);
        if (!layers.isEmpty()) {
            if (counts || scores) {
                throw o.error(
                        "layers",
                        "layers lists the blocks that go, so %s must not be given"
                                .formatted(counts ? "drop" : "score"));
            }
            return new LayersPass(0, null, layers);
        }
        if (!counts) {
            throw o.error("drop", "either drop or layers is needed");
        }
        return new LayersPass(DROP.read(o), SCORE.read(o), List.of());
    }

    private static List<Integer> indices(Options o) {
        List<String> given = LAYERS.read(o);
        String list = String.join(",", given);
        try {
            List<Integer> indices = given.stream().map(Integer::valueOf).sorted().toList();
            if (new HashSet<>(indices).size() < indices.size()) {
                throw o.error("layers", "layers is %s, which names a block twice".formatted(list));
            }
            return indices;
        } catch (NumberFormatException e) {
            throw o.error(
                    "layers", "layers is %s, expected indices of blocks, from 0".formatted(list));
        }
    }

    @Override
    public String name() {
        return "layers";
    }

    @Override
    public boolean calibrates() {
        return layers.isEmpty();
    }

    @Override
    public SequencedMap<String, Object> describe() {
        SequencedMap<String, Object> values = new LinkedHashMap<>();
        if (layers.isEmpty()) {
            values.put("drop", drop);
            values.put("score", Options.spelling(score));
        } else {
            values.put("layers", layers);
        }
        return values;
    }

    @Override
    public Checkpoint outline(Checkpoint source) {
        int before = Architectures.specOf(source).layers().size();
        check(source, before);
        List<Integer> dropped =
                layers.isEmpty() ? IntStream.range(before - drop, before).boxed().toList() : layers;
        return KeptLayers.without(dropped, before).of(source);
    }

    /// @throws UserException where there are no such blocks, or none would be left
    private void check(Checkpoint source, int before) {
        int gone = Math.max(drop, layers.size());
        if (gone >= before) {
            throw new UserException(
                    "cannot drop %d of the %d layers of %s"
                            .formatted(gone, before, source.directory()),
                    "drop fewer; at least one must stay");
        }
        for (int layer : layers) {
            if (layer < 0 || layer >= before) {
                throw new UserException(
                        "%s has no layer %d to drop".formatted(source.directory(), layer),
                        "its layers are 0 to " + (before - 1));
            }
        }
    }

    @Override
    public long workBytes(ModelSpec spec, int windows, int length) {
        long marked = 4L * windows * length * spec.hidden();
        return score == LayerScore.GREEDY ? marked + HeadLoss.bytes(spec) : marked;
    }

    @Override
    public Checkpoint view(ModelScope scope) {
        long start = System.nanoTime();
        int before = scope.model().spec().layers().size();
        SequencedMap<String, Object> figures = new LinkedHashMap<>();
        List<Integer> dropped = layers.isEmpty() ? choose(scope, figures) : layers;
        KeptLayers kept = KeptLayers.without(dropped, before);
        SequencedMap<String, Object> values = new LinkedHashMap<>();
        values.put("method", name());
        values.put("score", layers.isEmpty() ? Options.spelling(score) : "listed");
        values.put("dropped", dropped);
        values.put("kept", kept.indices());
        values.putAll(figures);
        scope.report(
                new ModuleReport("model", values, (System.nanoTime() - start) / 1e9, List.of()));
        return kept.of(scope.model().checkpoint());
    }

    /// @param figures gets what led to the choice
    /// @return indices of the blocks that go; for a search, in the order in which they went
    private List<Integer> choose(ModelScope scope, SequencedMap<String, Object> figures) {
        int before = scope.model().spec().layers().size();
        return switch (score) {
            case BLOCK_INFLUENCE -> {
                double[] scores = scope.remember("block-influence", () -> BlockInfluence.of(scope));
                figures.put("scores", rounded(scores));
                figures.put("block_passes", before);
                yield LayerScores.smallest(scores, drop);
            }
            case ANGULAR -> {
                double[] scores = scope.remember("angular", () -> AngularDistance.of(scope, drop));
                figures.put("scores", rounded(scores));
                figures.put("block_passes", before);
                int first = LayerScores.smallest(scores, 1).getFirst();
                yield IntStream.range(first, first + drop).boxed().toList();
            }
            case GREEDY -> {
                GreedySearch.Result result = GreedySearch.run(scope, drop);
                figures.put("scores", result.rounds().stream().map(LayersPass::rounded).toList());
                figures.put("nll_before", rounded(result.before()));
                figures.put(
                        "nll_after", result.rounds().stream().map(r -> rounded(r.loss())).toList());
                long passes = GreedySearch.blockPasses(before, drop);
                figures.put("block_passes", passes);
                figures.put("forward_passes", rounded((double) passes / before));
                yield result.dropped();
            }
        };
    }

    private static List<Double> rounded(double[] values) {
        return Arrays.stream(values).mapToObj(LayersPass::rounded).toList();
    }

    /// Without each block; null for one that had gone before.
    private static List<Double> rounded(GreedySearch.Round round) {
        return round.losses().stream().map(loss -> loss == null ? null : rounded(loss)).toList();
    }

    private static Double rounded(double value) {
        return new BigDecimal(value).round(DIGITS).doubleValue();
    }
}
