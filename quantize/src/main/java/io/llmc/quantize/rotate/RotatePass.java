// SPDX-License-Identifier: Apache-2.0
package io.llmc.quantize.rotate;

import io.llmc.formats.UserException;
import io.llmc.formats.checkpoint.Checkpoint;
import io.llmc.model.ModelSpec;
import io.llmc.model.arch.Architectures;
import io.llmc.pipeline.ModuleReport;
import io.llmc.pipeline.Option;
import io.llmc.pipeline.Options;
import io.llmc.pipeline.pass.ModelPass;
import io.llmc.pipeline.pass.ModelScope;
import io.llmc.pipeline.pass.PassFactory;
import io.llmc.pipeline.rotation.RotatedModel;
import io.llmc.pipeline.rotation.Rotation;
import io.llmc.pipeline.rotation.Untied;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Optional;
import java.util.SequencedMap;

/// Turns the residual stream and the values of each head by random Hadamard matrices, which spread
/// outliers over all channels; weights turn with them, so that nothing is left to compute (R1 and
/// R2 of QuaRot, https://arxiv.org/abs/2404.00456, and SpinQuant). The result computes what the
/// model computed, and is easier to round.
///
/// @param rotations what turns
/// @param seed of the signs
public record RotatePass(Rotations rotations, long seed) implements ModelPass {
    private static final Option<Rotations> ROTATIONS =
            Option.choice(
                    "rotations",
                    Rotations.class,
                    Rotations.BOTH,
                    "What turns: the residual stream (stream), the values of each head (heads) or"
                            + " both (default: %s).");

    private static final Option<Long> SEED =
            Option.whole("seed", 0L, "Draws the signs of the rotations (default: %s).")
                    .withoutFlag();

    public static final PassFactory FACTORY =
            new PassFactory(
                            "rotate",
                            "QuaRot: turn the residual stream and the heads before rounding",
                            """
                            model: testdata/tale-llama
                            output: out
                            calibration: {data: testdata/tale-llama/calibration.txt, samples: 16, length: 256}
                            steps:
                              - sweep:
                                  - rotate: {rotations: both}
                                  - gptq: {bits: 3, groupSize: 64}
                            save: {layout: compressed-tensors}
                            """,
                            List.of(ROTATIONS, SEED),
                            o -> new RotatePass(ROTATIONS.read(o), SEED.read(o)))
                    .roundedBy("gptq");

    /// What turns.
    public enum Rotations {
        BOTH,
        STREAM,
        HEADS
    }

    @Override
    public String name() {
        return "rotate";
    }

    @Override
    public boolean calibrates() {
        return false;
    }

    @Override
    public SequencedMap<String, Object> describe() {
        SequencedMap<String, Object> values = new LinkedHashMap<>();
        values.put("rotations", Options.spelling(rotations));
        values.put("seed", seed);
        return values;
    }

    private boolean turnsStream() {
        return rotations != Rotations.HEADS;
    }

    @Override
    public Optional<String> note(Checkpoint source) {
        return turnsStream() ? Untied.note(source) : Optional.empty();
    }

    @Override
    public Checkpoint outline(Checkpoint source) {
        ModelSpec spec = Architectures.specOf(source);
        String obstacle = RotatedModel.obstacle(spec);
        if (turnsStream() && obstacle != null) {
            throw new UserException(
                    "the stream of a %s cannot be turned: %s".formatted(spec.modelType(), obstacle),
                    "turn its values alone: {rotations} heads");
        }
        return turnsStream() ? Untied.of(source) : source;
    }

    @Override
    public long workBytes(ModelSpec spec, int windows, int length) {
        return 0;
    }

    @Override
    public long makingBytes(ModelSpec spec) {
        return RotatedModel.bytes(spec);
    }

    @Override
    public Checkpoint view(ModelScope scope) {
        SequencedMap<String, Object> values = new LinkedHashMap<>();
        values.put("method", name());
        values.putAll(describe());
        scope.report(new ModuleReport("model", values, 0, List.of()));
        Checkpoint source = outline(scope.model().checkpoint());
        ModelSpec spec = scope.model().spec();
        Rotation stream = turnsStream() ? RotatedModel.stream(spec, seed) : null;
        List<Rotation> heads =
                rotations == Rotations.STREAM ? List.of() : RotatedModel.heads(spec, seed);
        RotatedModel rotated = new RotatedModel(scope.model().backend(), source, stream, heads);
        return source.derived(source.config(), rotated.infos(), rotated);
    }
}
