// SPDX-License-Identifier: Apache-2.0
package io.llmc.quantize;

import io.llmc.backend.CompressionOp;
import io.llmc.model.Linear;
import io.llmc.pipeline.BlockPass;
import io.llmc.pipeline.BlockScope;
import io.llmc.pipeline.ModuleReport;
import io.llmc.pipeline.Options;
import io.llmc.pipeline.PassFactory;
import io.llmc.pipeline.Targets;
import io.llmc.tensor.Codes;
import io.llmc.tensor.Encoding;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Optional;
import java.util.SequencedMap;

/// Round-to-nearest: needs no data, and is the baseline that every other quantizer must beat.
///
///     - rtn: {bits: 4, groupSize: 128, symmetric: true, clip: none, clipSteps: 9,
///             clipGrid: 20, clipNorm: 2, targets: [], ignore: []}
///
/// @param clip [Clip#MSE] or [Clip#NONE]: there is no Hessian to weigh errors by
public record RtnPass(
        Encoding.Grid<Codes.Ints> spec, Clip clip, CompressionOp.GridSearch search, Targets targets)
        implements BlockPass {
    static final PassFactory FACTORY =
            new PassFactory(
                    "rtn",
                    "round to nearest; no calibration data",
                    """
                    model: testdata/tale-llama
                    output: out
                    steps:
                      - sweep:
                          - rtn: {bits: 4, groupSize: 64, symmetric: true, clip: mse}
                    save: {layout: compressed-tensors}
                    """,
                    RtnPass::read);

    private static BlockPass read(Options o) {
        Encoding.Grid<Codes.Ints> spec = GridOptions.spec(o);
        Clip clip = o.choice("clip", Clip.class, Clip.NONE);
        if (clip == Clip.HESSIAN) {
            throw o.error("clip", "clip is hessian, but rtn has no Hessian; expected mse or none");
        }
        return new RtnPass(spec, clip, GridOptions.search(o), Targets.read(o));
    }

    @Override
    public String name() {
        return "rtn";
    }

    @Override
    public boolean calibrates() {
        return false;
    }

    @Override
    public Optional<Encoding.Grid<Codes.Ints>> encoding() {
        return Optional.of(spec);
    }

    @Override
    public SequencedMap<String, Object> describe() {
        SequencedMap<String, Object> values = new LinkedHashMap<>();
        values.put("clip", Options.spelling(clip));
        return values;
    }

    @Override
    public long workBytes(long out, long in) {
        return RtnMath.scratchBytes(out, in);
    }

    @Override
    public void apply(BlockScope scope) {
        List<Linear> layers =
                scope.stages().stream()
                        .flatMap(s -> s.linears().stream())
                        .filter(scope::selected)
                        .toList();
        for (Linear layer : layers) {
            long start = System.nanoTime();
            RtnMath.Result result =
                    RtnMath.quantize(
                            scope.desk(),
                            layer.weight(),
                            spec,
                            scope.scaleDtype(layer),
                            scope.minZero(),
                            clip == Clip.MSE ? search : null,
                            false);
            scope.replace(layer, result.weight());
            SequencedMap<String, Object> values = new LinkedHashMap<>();
            values.put("method", "rtn");
            values.put("relative_weight_error", result.error());
            scope.report(
                    new ModuleReport(
                            layer.name(), values, (System.nanoTime() - start) / 1e9, List.of()));
        }
    }
}
