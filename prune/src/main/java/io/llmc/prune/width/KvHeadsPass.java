// SPDX-License-Identifier: Apache-2.0
package io.llmc.prune.width;

import io.llmc.backend.ForwardOp;
import io.llmc.formats.UserException;
import io.llmc.model.LayerSpec;
import io.llmc.model.ModelSpec;
import io.llmc.model.language.Replacement;
import io.llmc.model.structure.Size;
import io.llmc.pipeline.ModuleReport;
import io.llmc.pipeline.Option;
import io.llmc.pipeline.Options;
import io.llmc.pipeline.pass.BlockPass;
import io.llmc.pipeline.pass.BlockScope;
import io.llmc.pipeline.pass.PassFactory;
import io.llmc.pipeline.pass.Targets;
import io.llmc.tensor.Tensor;
import io.llmc.tensor.Weight;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.SequencedMap;
import java.util.stream.IntStream;

/// Fewer KV heads, and so a smaller cache: each new head of K and V is the mean of `r = kvHeads /
/// to` neighbours, whose queries then share it. GQA, https://arxiv.org/abs/2305.13245, section 2.1.
///
///     - kv-heads: {to: 1, weighted: false}
///
/// @param to KV heads in the end
/// @param weighted heads count by the mean square of their outputs on calibration data, K and V
///   each by their own
public record KvHeadsPass(int to, boolean weighted) implements BlockPass {
    private static final Option<Integer> TO =
            Option.integer("to", null, "How many there are in the end.");

    private static final Option<Boolean> WEIGHTED =
            Option.flag(
                    "weighted",
                    false,
                    "Heads count by the activity of their outputs (default: all alike).");

    public static final PassFactory FACTORY =
            new PassFactory(
                    "kv-heads",
                    "pools neighbouring heads of K and V",
                    """
                    model: testdata/tale-llama
                    output: out
                    steps:
                      - sweep:
                          - kv-heads: {to: 1}
                    """,
                    List.of(TO, WEIGHTED),
                    KvHeadsPass::read);

    private static BlockPass read(Options o) {
        return new KvHeadsPass(TO.required(o), WEIGHTED.read(o));
    }

    @Override
    public String name() {
        return "kv-heads";
    }

    @Override
    public Targets targets() {
        return Targets.ALL;
    }

    @Override
    public boolean calibrates() {
        return weighted;
    }

    @Override
    public SequencedMap<String, Object> describe() {
        SequencedMap<String, Object> values = new LinkedHashMap<>();
        values.put("to", to);
        values.put("weighted", weighted);
        return values;
    }

    @Override
    public void check(ModelSpec spec) {
        for (LayerSpec layer : spec.layers()) {
            if (layer.pruneGroup(Size.KV_HEADS).isEmpty()) {
                throw new UserException(
                        "no KV heads can be taken out of a %s: %s"
                                .formatted(spec.modelType(), layer.fixed(Size.KV_HEADS)),
                        "choose another method for this model");
            }
            check(layer.count(Size.KV_HEADS));
        }
    }

    private void check(int heads) {
        String fitting =
                IntStream.range(1, heads)
                        .filter(n -> heads % n == 0)
                        .mapToObj(Integer::toString)
                        .reduce((a, b) -> a + ", " + b)
                        .map(all -> "these do: " + all)
                        .orElse("this model cannot have fewer");
        if (to < 1) {
            throw new UserException("to is %d, expected at least 1".formatted(to), fitting);
        }
        if (to >= heads) {
            throw new UserException(
                    "to is %d, but there are no more than %d KV heads".formatted(to, heads),
                    fitting);
        }
        if (heads % to != 0) {
            throw new UserException(
                    "%d does not divide the %d KV heads".formatted(to, heads), fitting);
        }
    }

    @Override
    public Map<Size, Integer> sizes(ModelSpec spec) {
        return Map.of(Size.KV_HEADS, to);
    }

    @Override
    public long workBytes(long out, long in) {
        return 8 * out * in;
    }

    @Override
    public long tapBytes(long rows, long out) {
        return 8 * rows * out + 4096;
    }

    @Override
    public void apply(BlockScope scope) {
        Replacement replacement = scope.replacement();
        List<KvHeads> layers = KvHeads.of(scope.block());
        int ratio = scope.block().spec().count(Size.KV_HEADS) / to;
        List<float[]> shares =
                weighted
                        ? HeadActivity.shares(scope, layers, ratio)
                        : layers.stream().map(l -> l.equalShares(ratio)).toList();
        for (int i = 0; i < layers.size(); i++) {
            pool(scope, layers.get(i), shares.get(i), ratio, replacement);
        }
        scope.reshape(replacement);
    }

    private void pool(
            BlockScope scope, KvHeads heads, float[] shares, int ratio, Replacement replacement) {
        long start = System.nanoTime();
        String name = heads.layer().name();
        Tensor weight = heads.pool(scope.desk(), heads.weight(), shares, ratio);
        replacement.put(name, new Weight.Dense(weight));
        if (heads.bias() != null) {
            replacement.put(name + ".bias", bias(scope, heads, shares, ratio));
        }
        SequencedMap<String, Object> report = new LinkedHashMap<>();
        report.put("method", name());
        report.put("kv_heads", to);
        if (weighted) {
            report.put("shares", list(shares));
        }
        scope.report(new ModuleReport(name, report, (System.nanoTime() - start) / 1e9, List.of()));
    }

    /// In the type that it has; weights are rounded when they are put in their place, biases not.
    private static Tensor bias(BlockScope scope, KvHeads heads, float[] shares, int ratio) {
        Tensor old = heads.bias().reshape(heads.bias().rows(), 1);
        Tensor pooled = heads.pool(scope.desk(), old, shares, ratio);
        Tensor rounded = scope.arena().allocate(old.dtype(), pooled.shape());
        scope.run(new ForwardOp.Scale(rounded, pooled, 1));
        return rounded.reshape(rounded.rows());
    }

    private static List<Double> list(float[] values) {
        return IntStream.range(0, values.length).mapToObj(i -> (double) values[i]).toList();
    }
}
