// SPDX-License-Identifier: Apache-2.0
package io.llmc.quantize.convert;

import io.llmc.formats.checkpoint.Checkpoint;
import io.llmc.formats.checkpoint.Layouts;
import io.llmc.model.ModelSpec;
import io.llmc.pipeline.ModuleReport;
import io.llmc.pipeline.pass.ModelPass;
import io.llmc.pipeline.pass.ModelScope;
import io.llmc.pipeline.pass.PassFactory;
import io.llmc.tensor.Scheme;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Optional;
import java.util.SequencedMap;
import java.util.Set;

/// A packed model as a plain one: every weight is the value that its readers compute, in the type of
/// its scales, so that nothing is rounded again. A plain model stays as it is.
///
///     - unpack: {}
public record UnpackPass() implements ModelPass {

    public static final PassFactory FACTORY =
            new PassFactory(
                    "unpack",
                    "a packed model's weights as the plain values that they stand for; no"
                            + " calibration data",
                    """
                    model: testdata/tale-llama
                    output: out
                    steps:
                      - sweep:
                          - unpack: {}
                          - rtn: {bits: 4, groupSize: 64}
                    """,
                    List.of(),
                    _ -> new UnpackPass());

    @Override
    public String name() {
        return "unpack";
    }

    @Override
    public boolean calibrates() {
        return false;
    }

    @Override
    public boolean unpacks() {
        return true;
    }

    @Override
    public SequencedMap<String, Object> describe() {
        return new LinkedHashMap<>();
    }

    @Override
    public Optional<String> note(Checkpoint source) {
        Set<String> packed = source.packedLinears();
        if (packed.isEmpty()) {
            return Optional.empty();
        }
        String note =
                "%d packed layers are written as the plain values that they stand for; what rounding lost does not come back"
                        .formatted(packed.size());
        long rounded =
                packed.stream()
                        .filter(l -> source.scheme(l).flatMap(Scheme::inputs).isPresent())
                        .count();
        String inputs =
                rounded == 0
                        ? ""
                        : ", and the inputs of %d are no longer rounded".formatted(rounded);
        String cache =
                source.kvCache().isEmpty() ? "" : ", nor are keys and values rounded any more";
        return Optional.of(note + inputs + cache);
    }

    @Override
    public Checkpoint outline(Checkpoint source) {
        return plain(source);
    }

    @Override
    public long workBytes(ModelSpec spec, int windows, int length) {
        return 0;
    }

    @Override
    public Checkpoint view(ModelScope scope) {
        Checkpoint source = scope.model().checkpoint();
        SequencedMap<String, Object> values = new LinkedHashMap<>();
        values.put("method", name());
        values.put("kept", "%d layers were packed".formatted(source.packedLinears().size()));
        scope.report(new ModuleReport("model", values, 0, List.of()));
        return plain(source);
    }

    private static Checkpoint plain(Checkpoint source) {
        return new Conversion(source, Layouts.named("dense"), "").checkpoint();
    }
}
