// SPDX-License-Identifier: Apache-2.0
package io.llmc.quantize.learn;

import io.llmc.model.ArenaPlan;
import io.llmc.model.Capability;
import io.llmc.model.DecoderBlock;
import io.llmc.model.Linear;
import io.llmc.model.ModelSpec;
import io.llmc.pipeline.ModuleReport;
import io.llmc.pipeline.Option;
import io.llmc.pipeline.Options;
import io.llmc.pipeline.learning.BlockTrainer;
import io.llmc.pipeline.pass.BlockPass;
import io.llmc.pipeline.pass.BlockScope;
import io.llmc.pipeline.pass.PassFactory;
import io.llmc.pipeline.pass.Targets;
import io.llmc.tensor.Weight;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.SequencedMap;

/// Learned rounding: codes and scales of the layers that a rounding pass before it has packed, by
/// the gradients of what the block gives (SignRound, https://arxiv.org/abs/2309.05516).
public record LearnPass(LearnSettings settings, Targets targets) implements BlockPass {
    private static final Option<Integer> STEPS =
            Option.integer("steps", 200, "Steps that each block learns (default: %s).")
                    .within("a positive number", n -> n >= 1);

    private static final Option<Integer> SEQUENCES =
            Option.integer("batch", 8, "Calibration sequences of a step (default: %s).")
                    .within("a positive number", n -> n >= 1);

    private static final Option<Double> RATE =
            Option.decimal(
                            "rate",
                            null,
                            "How far a weight moves in the first step, in steps of its grid; it falls to"
                                    + " 0 in the last (default: 1 over the steps).")
                    .within("0 to 1", r -> r > 0 && r <= 1);

    private static final Option<Double> RANGE_RATE =
            Option.decimal(
                            "rangeRate",
                            0.001,
                            "The same of a group's scale, as a part of itself; 0 leaves scales as they"
                                    + " are (default: %s).")
                    .within("0 to 0.1", r -> r >= 0 && r <= 0.1);

    private static final Option<Double> MOMENTUM =
            Option.decimal(
                            "momentum",
                            0.9,
                            "What a step keeps of the gradients before it (default: %s).")
                    .withoutFlag()
                    .within("0 to 1", m -> m >= 0 && m < 1);

    private static final Option<Long> SEED =
            Option.whole("seed", 0L, "Of the order of sequences (default: %s).").withoutFlag();

    public static final PassFactory FACTORY =
            new PassFactory(
                    "learn",
                    "learned rounding of layers that a pass before it has rounded",
                    """
                    model: testdata/tale-llama
                    output: out
                    calibration: {data: testdata/tale-llama/calibration.txt, samples: 16, length: 64}
                    steps:
                      - sweep:
                          - gptq: {bits: 4, groupSize: 64}
                          - learn: {steps: 4, batch: 4}
                    save: {layout: compressed-tensors}
                    """,
                    Option.join(
                            List.of(STEPS, SEQUENCES, RATE, RANGE_RATE, MOMENTUM, SEED),
                            Targets.OPTIONS),
                    LearnPass::read);

    private static BlockPass read(Options o) {
        int steps = STEPS.read(o);
        Double rate = RATE.read(o);
        return new LearnPass(
                new LearnSettings(
                        steps,
                        SEQUENCES.read(o),
                        rate == null ? 1.0 / steps : rate,
                        RANGE_RATE.read(o),
                        MOMENTUM.read(o),
                        SEED.read(o)),
                Targets.read(o));
    }

    @Override
    public String name() {
        return "learn";
    }

    @Override
    public boolean calibrates() {
        return true;
    }

    @Override
    public boolean refines() {
        return true;
    }

    @Override
    public boolean compares() {
        return true;
    }

    @Override
    public void check(ModelSpec spec) {
        Capability.requireGradients(spec);
    }

    @Override
    public SequencedMap<String, Object> describe() {
        SequencedMap<String, Object> values = new LinkedHashMap<>();
        values.put("steps", settings.steps());
        values.put("batch", settings.sequences());
        values.put("rate", settings.rate());
        values.put("range_rate", settings.rangeRate());
        values.put("momentum", settings.momentum());
        values.put("seed", settings.seed());
        return values;
    }

    /// Its memory is that of whole blocks.
    @Override
    public long workBytes(long out, long in) {
        return 0;
    }

    @Override
    public long refiningBytes(DecoderBlock block, int hidden, int length) {
        long layers =
                block.linears().stream()
                        .filter(linear -> targets.selects(linear.name()))
                        .map(Linear::weight)
                        .mapToLong(w -> LearnedLayer.bytes(w.outFeatures(), w.inFeatures()))
                        .sum();
        int rows = settings.sequences() * length;
        long kept = ArenaPlan.kept(block, rows, hidden, length);
        return layers + BlockTrainer.bytes(kept, rows, hidden);
    }

    @Override
    public void apply(BlockScope scope) {
        List<Linear> packed =
                scope.block().linears().stream()
                        .filter(scope::selected)
                        .filter(linear -> linear.weight() instanceof Weight.Grouped)
                        .toList();
        if (packed.isEmpty()) {
            return;
        }
        long start = System.nanoTime();
        try (BlockLearner learner = new BlockLearner(scope, packed, settings)) {
            BlockLearner.Result result = learner.learn();
            double seconds = (System.nanoTime() - start) / 1e9 / packed.size();
            for (LearnedLayer layer : learner.layers()) {
                layer.linear().replace(layer.begun());
                if (result.better()) {
                    scope.replace(layer.linear(), layer.learnt(scope.desk()));
                }
                scope.report(report(layer.linear(), result, seconds));
            }
        }
    }

    private static ModuleReport report(Linear layer, BlockLearner.Result result, double seconds) {
        SequencedMap<String, Object> values = new LinkedHashMap<>();
        values.put("method", "learn");
        values.put("block_distance_before", result.found());
        values.put("block_distance", Math.min(result.found(), result.learnt()));
        return new ModuleReport(layer.name(), values, seconds, List.of());
    }
}
