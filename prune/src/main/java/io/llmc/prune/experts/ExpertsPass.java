// SPDX-License-Identifier: Apache-2.0
package io.llmc.prune.experts;

import io.llmc.backend.Desk;
import io.llmc.backend.ForwardOp;
import io.llmc.formats.UserException;
import io.llmc.model.DecoderBlock;
import io.llmc.model.LayerSpec;
import io.llmc.model.Linear;
import io.llmc.model.ModelSpec;
import io.llmc.model.language.Replacement;
import io.llmc.model.structure.PruneGroup;
import io.llmc.model.structure.Size;
import io.llmc.pipeline.ModuleReport;
import io.llmc.pipeline.Option;
import io.llmc.pipeline.Options;
import io.llmc.pipeline.pass.BlockPass;
import io.llmc.pipeline.pass.BlockScope;
import io.llmc.pipeline.pass.PassFactory;
import io.llmc.pipeline.pass.Targets;
import io.llmc.tensor.Shape;
import io.llmc.tensor.Tensor;
import io.llmc.tensor.Weight;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.SequencedMap;
import java.util.function.Predicate;
import java.util.stream.Collectors;
import java.util.stream.IntStream;

/// REAP: takes the experts out of every block that count least, by the norm of their outputs times
/// the router's weights. https://arxiv.org/abs/2510.13999
///
///     - experts: {keep: 4}
///
/// Experts that stay keep their order and their weights; the router loses the rows of the others.
///
/// @param keep experts of a block
public record ExpertsPass(int keep) implements BlockPass {
    private static final Option<Integer> KEEP =
            Option.integer("keep", null, "How many stay in each block.");

    public static final PassFactory FACTORY =
            new PassFactory(
                    "experts",
                    "takes out the experts whose weighted outputs are smallest: REAP",
                    """
                    model: testdata/tiny-mixtral
                    output: out
                    calibration: {data: testdata/tale-llama/calibration.txt, samples: 16, length: 64}
                    steps:
                      - sweep:
                          - experts: {keep: 3}
                    """,
                    List.of(KEEP),
                    ExpertsPass::read);

    private static BlockPass read(Options o) {
        return new ExpertsPass(KEEP.required(o));
    }

    @Override
    public String name() {
        return "experts";
    }

    @Override
    public Targets targets() {
        return Targets.ALL;
    }

    @Override
    public boolean calibrates() {
        return true;
    }

    @Override
    public SequencedMap<String, Object> describe() {
        SequencedMap<String, Object> values = new LinkedHashMap<>();
        values.put("keep", keep);
        return values;
    }

    @Override
    public void check(ModelSpec spec) {
        List<PruneGroup> layers =
                spec.layers().stream()
                        .flatMap(layer -> layer.pruneGroup(Size.EXPERTS).stream())
                        .toList();
        spec.layers().stream()
                .flatMap(LayerSpec::bodies)
                .flatMap(body -> body.fixed(Size.EXPERTS).stream())
                .findFirst()
                .ifPresent(why -> {
                    throw new UserException(
                            "no experts can be taken out of a %s: %s"
                                    .formatted(spec.modelType(), why),
                            "choose another method for this model");
                });
        if (layers.isEmpty()) {
            throw new UserException(
                    "a %s has no experts".formatted(spec.modelType()),
                    "choose another method for this model");
        }
        layers.forEach(experts -> check(experts.count(), experts.least()));
    }

    private void check(int experts, int topK) {
        String hint =
                topK < experts - 1
                        ? "keep %d to %d".formatted(topK, experts - 1)
                        : topK < experts ? "keep " + topK : "this model cannot lose any";
        if (keep < 1) {
            throw new UserException("keep is %d, expected at least 1".formatted(keep), hint);
        }
        if (keep >= experts) {
            throw new UserException(
                    "keep is %d, but there are no more than %d experts".formatted(keep, experts),
                    hint);
        }
        if (keep < topK) {
            throw new UserException(
                    "top-k exceeds what is kept: each token goes to %d experts, keep is %d"
                            .formatted(topK, keep),
                    hint);
        }
    }

    @Override
    public Map<Size, Integer> sizes(ModelSpec spec) {
        return Map.of(Size.EXPERTS, keep);
    }

    @Override
    public long workBytes(long out, long in) {
        return 4096;
    }

    @Override
    public long tapBytes(long rows, long out) {
        return 8 * rows * (out + 1) + 4096;
    }

    @Override
    public void apply(BlockScope scope) {
        Replacement replacement = scope.replacement();
        scope.block()
                .spec()
                .pruneGroup(Size.EXPERTS)
                .ifPresent(experts -> apply(scope, experts, replacement));
        scope.reshape(replacement);
    }

    private void apply(BlockScope scope, PruneGroup experts, Replacement replacement) {
        long start = System.nanoTime();
        String router = experts.rows().getFirst().linear();
        ExpertSaliency saliency = ExpertSaliency.observe(scope, experts);
        List<Integer> kept = saliency.best(keep);
        renumber(scope.block(), experts.whole(), kept, replacement);
        slice(scope, router, kept, replacement);
        report(scope, router, saliency, kept, start);
    }

    /// The expert `kept[i]` gets the number i.
    private static void renumber(
            DecoderBlock block,
            List<List<String>> experts,
            List<Integer> kept,
            Replacement replacement) {
        Map<String, Weight> weights =
                block.linears().stream().collect(Collectors.toMap(Linear::name, Linear::weight));
        for (int i = 0; i < kept.size(); i++) {
            List<String> from = experts.get(kept.get(i));
            List<String> to = experts.get(i);
            for (int l = 0; l < from.size(); l++) {
                replacement.put(to.get(l), weights.get(from.get(l)));
                Tensor bias = block.parameters().get(from.get(l) + ".bias");
                if (bias != null) {
                    replacement.put(to.get(l) + ".bias", bias);
                }
            }
        }
    }

    /// Leaves the router the rows of the experts that stay.
    private static void slice(
            BlockScope scope, String router, List<Integer> kept, Replacement replacement) {
        Map<String, Tensor> parameters = scope.block().parameters();
        Tensor weight = parameters.get(router + ".weight");
        replacement.put(router + ".weight", rows(scope, weight, kept));
        Tensor bias = parameters.get(router + ".bias");
        if (bias != null) {
            Tensor column = bias.reshape(bias.rows(), 1);
            replacement.put(router + ".bias", rows(scope, column, kept).reshape(kept.size()));
        }
        scope.block()
                .spec()
                .bodies()
                .flatMap(body -> body.innerTensors().stream())
                .filter(t -> t.sizes().equals(List.of(Size.EXPERTS)))
                .forEach(t -> {
                    Tensor all = parameters.get(t.name());
                    Tensor column = all.reshape(all.shape().size(), 1);
                    long[] dims = all.shape().dims();
                    dims[dims.length - 1] = kept.size();
                    replacement.put(t.name(), rows(scope, column, kept).reshape(dims));
                });
    }

    private static Tensor rows(BlockScope scope, Tensor x, List<Integer> kept) {
        Tensor out = scope.arena().allocate(x.dtype(), new Shape(kept.size(), x.cols()));
        try (Desk scratch = scope.desk().fresh(4L * kept.size() + 4096)) {
            int[] rows = kept.stream().mapToInt(Integer::intValue).toArray();
            scope.run(new ForwardOp.GatherRows(out, x, scratch.ints(rows)));
        }
        return out;
    }

    private void report(
            BlockScope scope,
            String router,
            ExpertSaliency saliency,
            List<Integer> kept,
            long start) {
        List<Double> values = saliency.values();
        SequencedMap<String, Object> report = new LinkedHashMap<>();
        report.put("method", name());
        report.put("kept", kept);
        report.put(
                "dropped",
                IntStream.range(0, values.size())
                        .boxed()
                        .filter(Predicate.not(kept::contains))
                        .toList());
        report.put("saliency", values);
        report.put("tokens", saliency.seen());
        String unseen =
                saliency.unseen().stream().map(Object::toString).collect(Collectors.joining(", "));
        scope.report(
                new ModuleReport(
                        router,
                        report,
                        (System.nanoTime() - start) / 1e9,
                        unseen.isEmpty()
                                ? List.of()
                                : List.of(
                                        "no calibration token was routed to expert "
                                                + unseen
                                                + "; such experts are dropped first")));
    }
}
