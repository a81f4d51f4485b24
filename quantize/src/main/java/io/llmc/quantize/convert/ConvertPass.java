// SPDX-License-Identifier: Apache-2.0
package io.llmc.quantize.convert;

import io.llmc.formats.checkpoint.Checkpoint;
import io.llmc.model.ModelSpec;
import io.llmc.pipeline.ModuleReport;
import io.llmc.pipeline.pass.ModelPass;
import io.llmc.pipeline.pass.ModelScope;
import io.llmc.pipeline.pass.PassFactory;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.SequencedMap;

/// A packed model in the layout of the output: the same codes, scales and zero points, spelled
/// otherwise. A plain model stays as it is.
///
///     - convert: {}
public record ConvertPass() implements ModelPass {

    public static final PassFactory FACTORY =
            new PassFactory(
                    "convert",
                    "a packed model's codes, scales and zero points as they are, in another"
                            + " layout; no calibration data",
                    """
                    model: testdata/tale-llama
                    output: out
                    steps:
                      - sweep:
                          - convert: {}
                    save: {layout: gptq}
                    """,
                    List.of(),
                    _ -> new ConvertPass());

    @Override
    public String name() {
        return "convert";
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
    public Outlined outline(Checkpoint source, Spelling spelling) {
        if (source.packedLinears().isEmpty()) {
            return new Outlined(
                    source,
                    List.of("nothing in this model is packed: its weights stay as they are"));
        }
        Conversion conversion = new Conversion(source, spelling.layout(), spelling.toolVersion());
        return new Outlined(conversion.checkpoint(), conversion.notes());
    }

    @Override
    public Checkpoint outline(Checkpoint source) {
        throw new IllegalStateException("a conversion wants to know the layout");
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
        return outline(source, scope.spelling()).checkpoint();
    }
}
