// SPDX-License-Identifier: Apache-2.0
package io.llmc.quantize.scales;

import io.llmc.model.LayerSpec;
import io.llmc.model.Linear;
import io.llmc.model.ModelSpec;
import io.llmc.pipeline.ModuleReport;
import io.llmc.pipeline.Option;
import io.llmc.pipeline.Options;
import io.llmc.pipeline.SweepPlan;
import io.llmc.pipeline.pass.BlockPass;
import io.llmc.pipeline.pass.BlockScope;
import io.llmc.pipeline.pass.PassFactory;
import io.llmc.pipeline.pass.Targets;
import io.llmc.tensor.Encoding;
import io.llmc.tensor.Scheme;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Optional;
import java.util.SequencedMap;

/// AWQ: scales channels so that the weights of active ones are rounded on a finer grid, then has
/// the range of each group searched by what rounding costs the outputs.
/// https://arxiv.org/abs/2306.00978
///
/// Weights stay plain; the grid is that of the pass behind it which rounds them. Each group of
/// layers that read the same channels is searched on what its outputs feed, on a sample of the
/// calibration sequences: docs/adr/0024-scales-on-a-sample.md.
///
/// @param duo whether scales fall with the weights' own size, too
/// @param clamp whether ranges are searched: those of integers by the pass behind that rounds,
///   where nobody chose for it; of small floats by clamping weights, but those of queries and keys
public record AwqPass(AwqMath.Duo duo, boolean clamp, Targets targets) implements BlockPass {
    /// Tokens by which channels are known and weights are clamped, where a sequence is not longer.
    private static final int TOKENS = 2048;

    /// Tokens that scales are tried on.
    private static final int TRIAL_TOKENS = 512;

    private static final int STEPS = 20;

    private static final Option<AwqMath.Duo> DUO =
            Option.choice(
                    "duo",
                    AwqMath.Duo.class,
                    AwqMath.Duo.BOTH,
                    "Let scales fall with the size of the weights: with, without, or both, of which"
                            + " the better is taken (default: %s).");

    private static final Option<Boolean> CLAMP =
            Option.flag(
                            "clamp",
                            true,
                            "Do not search the range of each group by the layer's outputs: of"
                                    + " integers by rtn's clip, of small floats by clamping"
                                    + " weights.")
                    .flagged("--no-clamp");

    public static final PassFactory FACTORY =
            new PassFactory(
                            "awq",
                            "AWQ: scale channels for the method behind it that rounds",
                            """
                            model: testdata/tale-llama
                            output: out
                            calibration: {data: testdata/tale-llama/calibration.txt, samples: 16, length: 256}
                            steps:
                              - sweep:
                                  - awq: {duo: both}
                                  - rtn: {bits: 4, groupSize: 64}
                            save: {layout: compressed-tensors}
                            """,
                            Option.join(List.of(DUO, CLAMP), Targets.OPTIONS),
                            AwqPass::read)
                    .roundedBy("rtn");

    private static BlockPass read(Options o) {
        return new AwqPass(DUO.read(o), CLAMP.read(o), Targets.read(o));
    }

    @Override
    public String name() {
        return "awq";
    }

    @Override
    public boolean calibrates() {
        return true;
    }

    @Override
    public boolean preparesRounding() {
        return true;
    }

    @Override
    public boolean rescales() {
        return true;
    }

    @Override
    public List<String> notes(ModelSpec spec) {
        return Readers.notes(name(), spec);
    }

    @Override
    public SequencedMap<String, Object> describe() {
        SequencedMap<String, Object> values = new LinkedHashMap<>();
        values.put("duo", Options.spelling(duo));
        values.put("clamp", clamp);
        return values;
    }

    @Override
    public int sampleTokens() {
        return TOKENS;
    }

    @Override
    public int trialTokens() {
        return TRIAL_TOKENS;
    }

    @Override
    public long workBytes(long out, long in) {
        return ChannelScales.layerBytes(out, in, TRIAL_TOKENS);
    }

    @Override
    public long workBytes(SweepPlan.Module layer) {
        long search = workBytes(layer.out(), layer.in());
        return layer.scheme()
                .map(Scheme::weights)
                .filter(w -> clamp && Clamping.clamps(w))
                .map(w -> Clamping.layerBytes(layer.out(), layer.in(), w, TOKENS))
                .filter(clamping -> clamping > search)
                .orElse(search);
    }

    @Override
    public long blockBytes(LayerSpec layer, int hidden) {
        return ChannelScales.blockBytes(layer, hidden);
    }

    @Override
    public void apply(BlockScope scope) {
        ChannelScales.fold(
                scope,
                new ChannelScales.Plan(TOKENS, TRIAL_TOKENS, _ -> true),
                (group, seen, trial) -> search(scope, group, seen, trial));
        if (clamp) {
            Clamping.clamp(scope, TOKENS);
        }
    }

    private Optional<float[]> search(
            BlockScope scope, ChannelScales.Group group, Seen seen, Trial trial) {
        long start = System.nanoTime();
        Readers readers = group.readers();
        AwqMath.Found found =
                AwqMath.search(
                        readers.means(seen.means()),
                        duo == AwqMath.Duo.WITHOUT ? null : readers.means(sizes(scope, group)),
                        new AwqMath.Ratios(STEPS, duo),
                        trial);
        SequencedMap<String, Object> values = new LinkedHashMap<>();
        values.put("method", name());
        values.put("ratio", found.ratio());
        values.put("loss_left", found.unscaled() == 0 ? 1.0 : found.error() / found.unscaled());
        double seconds = (System.nanoTime() - start) / 1e9 / group.rounded().size();
        group.rounded()
                .forEach(l -> scope.report(new ModuleReport(l.name(), values, seconds, List.of())));
        return Optional.of(found.scales());
    }

    /// What part of the largest magnitude of its group a weight is, column by column, over the rows
    /// of all layers.
    private static double[] sizes(BlockScope scope, ChannelScales.Group group) {
        double[] sizes = new double[group.readers().channelOf().length];
        long rows = 0;
        for (Linear layer : group.rounded()) {
            Encoding.Grid<?> grid = ChannelScales.grid(scope, layer).orElseThrow();
            AwqMath.addSizes(
                    scope.desk(),
                    sizes,
                    ChannelScales.dense(layer),
                    (int) grid.tiles().width(sizes.length));
            rows += layer.weight().outFeatures();
        }
        for (int c = 0; c < sizes.length; c++) {
            sizes[c] /= rows;
        }
        return sizes;
    }
}
