// SPDX-License-Identifier: Apache-2.0
package io.llmc.quantize.scales;

import io.llmc.backend.Desk;
import io.llmc.backend.ForwardOp;
import io.llmc.backend.StatisticOp;
import io.llmc.model.LayerSpec;
import io.llmc.model.Linear;
import io.llmc.model.ModelSpec;
import io.llmc.pipeline.ModuleReport;
import io.llmc.pipeline.Option;
import io.llmc.pipeline.Options;
import io.llmc.pipeline.pass.BlockPass;
import io.llmc.pipeline.pass.BlockScope;
import io.llmc.pipeline.pass.PassFactory;
import io.llmc.pipeline.pass.Targets;
import io.llmc.tensor.DType;
import io.llmc.tensor.Tensor;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Optional;
import java.util.OptionalDouble;
import java.util.SequencedMap;

/// SmoothQuant: outliers of inputs move into the weights that read them, before both are rounded.
/// https://arxiv.org/abs/2211.10438
///
/// Weights stay plain; how they and their inputs are rounded is said by the pass behind it.
///
/// @param alpha how far; empty where it is searched for each group of layers
/// @param inner scales what layers make for each other, too, and not only what norms make
public record SmoothPass(OptionalDouble alpha, boolean inner, Targets targets)
        implements BlockPass {
    /// Of the sample, where a sequence is not longer: maxima want more than means do.
    private static final int TOKENS = 4096;

    /// The same where weights are tried, on some of these.
    private static final int TRIED_TOKENS = 2048;

    private static final int TRIAL_TOKENS = 512;

    private static final int STEPS = 20;
    private static final String SEARCH = "search";

    private static final Option<String> ALPHA =
            Option.numberOrWord(
                            "alpha",
                            "0.5",
                            "How far outliers move into the weights, 0 to 1, or search, by the"
                                    + " output error of each group of layers (default: %s).")
                    .as("X");

    private static final Option<Boolean> INNER =
            Option.flag(
                    "inner",
                    false,
                    "Scale what layers make for each other, too: values and the gated products.");

    public static final PassFactory FACTORY =
            new PassFactory(
                            "smooth",
                            "SmoothQuant: move outliers of inputs into weights",
                            """
                            model: testdata/tale-llama
                            output: out
                            calibration: {data: testdata/tale-llama/calibration.txt, samples: 16, length: 256}
                            steps:
                              - sweep:
                                  - smooth: {alpha: 0.5}
                                  - rtn: {bits: 8, groupSize: channel}
                            save: {layout: compressed-tensors}
                            """,
                            Option.join(List.of(ALPHA, INNER), Targets.OPTIONS),
                            SmoothPass::read)
                    .roundedBy("gptq");

    private static BlockPass read(Options o) {
        String alpha = ALPHA.read(o);
        return new SmoothPass(
                alpha.equals(SEARCH) ? OptionalDouble.empty() : OptionalDouble.of(alpha(o, alpha)),
                INNER.read(o),
                Targets.read(o));
    }

    private static double alpha(Options o, String text) {
        try {
            double alpha = Double.parseDouble(text);
            if (alpha >= 0 && alpha <= 1) {
                return alpha;
            }
        } catch (NumberFormatException _) {
            // said below
        }
        throw o.error("alpha", "alpha is %s, expected 0 to 1 or %s".formatted(text, SEARCH));
    }

    @Override
    public String name() {
        return "smooth";
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
        return inner ? Readers.notes(name(), spec) : List.of();
    }

    @Override
    public SequencedMap<String, Object> describe() {
        SequencedMap<String, Object> values = new LinkedHashMap<>();
        values.put("alpha", alpha.isPresent() ? (Object) alpha.getAsDouble() : SEARCH);
        values.put("inner", inner);
        return values;
    }

    @Override
    public int sampleTokens() {
        return alpha.isPresent() ? TOKENS : TRIED_TOKENS;
    }

    @Override
    public int trialTokens() {
        return alpha.isPresent() ? 0 : TRIAL_TOKENS;
    }

    /// Where nothing is tried, a few numbers of each channel.
    @Override
    public long workBytes(long out, long in) {
        return alpha.isPresent()
                ? 16 * in + (1 << 13)
                : ChannelScales.layerBytes(out, in, TRIAL_TOKENS);
    }

    @Override
    public long blockBytes(LayerSpec layer, int hidden) {
        return alpha.isPresent() ? 0 : ChannelScales.blockBytes(layer, hidden);
    }

    @Override
    public void apply(BlockScope scope) {
        ChannelScales.fold(
                scope,
                new ChannelScales.Plan(
                        sampleTokens(), trialTokens(), readers -> inner || readers.byNorm()),
                (group, seen, trial) -> scales(scope, group, seen, trial));
    }

    private Optional<float[]> scales(
            BlockScope scope, ChannelScales.Group group, Seen seen, Trial trial) {
        long start = System.nanoTime();
        Readers readers = group.readers();
        float[] inputs = readers.maxima(seen.maxima());
        float[] weights = readers.maxima(weights(scope, group));
        SequencedMap<String, Object> values = new LinkedHashMap<>();
        values.put("method", name());
        float[] scales;
        if (alpha.isPresent()) {
            values.put("alpha", alpha.getAsDouble());
            scales = SmoothMath.scales(inputs, weights, alpha.getAsDouble());
        } else {
            SmoothMath.Found found = SmoothMath.search(inputs, weights, STEPS, trial);
            values.put("alpha", found.alpha());
            values.put("loss_left", found.unscaled() == 0 ? 1.0 : found.error() / found.unscaled());
            scales = found.scales();
        }
        double seconds = (System.nanoTime() - start) / 1e9 / group.rounded().size();
        group.rounded()
                .forEach(l -> scope.report(new ModuleReport(l.name(), values, seconds, List.of())));
        return Optional.of(scales);
    }

    /// The largest magnitude of each column over the rows of all layers.
    private static float[] weights(BlockScope scope, ChannelScales.Group group) {
        int in = group.readers().channelOf().length;
        try (Desk d = scope.desk().fresh(4L * in + 1024)) {
            Tensor most = d.allocate(DType.F32, in);
            d.run(new ForwardOp.Zero(most));
            for (Linear layer : group.rounded()) {
                d.run(new StatisticOp.AccumulateColumnMaxima(most, ChannelScales.dense(layer)));
            }
            return d.backend().floats(most);
        }
    }
}
