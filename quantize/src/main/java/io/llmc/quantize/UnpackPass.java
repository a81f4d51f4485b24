// SPDX-License-Identifier: Apache-2.0
package io.llmc.quantize;

import com.fasterxml.jackson.databind.JsonNode;
import io.llmc.formats.Dequantizer;
import io.llmc.formats.FormatException;
import io.llmc.formats.HfConfig;
import io.llmc.formats.TensorInfo;
import io.llmc.formats.checkpoint.Checkpoint;
import io.llmc.formats.checkpoint.TensorReader;
import io.llmc.model.LayerSpec;
import io.llmc.model.LayerSpec.LinearSpec;
import io.llmc.model.ModelSpec;
import io.llmc.model.arch.Architectures;
import io.llmc.model.language.Transpose;
import io.llmc.pipeline.ModuleReport;
import io.llmc.pipeline.pass.ModelPass;
import io.llmc.pipeline.pass.ModelScope;
import io.llmc.pipeline.pass.PassFactory;
import io.llmc.tensor.DType;
import io.llmc.tensor.Scheme;
import io.llmc.tensor.Tensor;
import io.llmc.tensor.Weight;
import java.lang.foreign.Arena;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.SequencedMap;
import java.util.Set;
import java.util.stream.Collectors;
import java.util.stream.Stream;

/// A packed model as a plain one: every weight is the value that its readers compute, in the type of
/// its scales, so that nothing is rounded again. A plain model stays as it is.
///
///     - unpack: {}
public record UnpackPass() implements ModelPass {

    static final PassFactory FACTORY =
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

    /// What a linear layer keeps beside its weight.
    private static final String BIAS = ".bias";

    private static final String WEIGHT = ".weight";

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
        Set<String> packed = source.packedLinears();
        if (packed.isEmpty()) {
            return source;
        }
        ModelSpec spec = Architectures.specOf(source);
        Map<String, LinearSpec> linears =
                Stream.concat(
                                spec.layers().stream()
                                        .flatMap(l -> l.linears(spec.hidden()).stream()),
                                Stream.of(spec.output()))
                        .collect(Collectors.toMap(LinearSpec::name, l -> l));
        SequencedMap<String, TensorInfo> infos = new LinkedHashMap<>();
        Set<String> scales = cacheScales(source, spec);
        for (String name : source.names()) {
            if (scales.contains(name)) {
                continue;
            }
            String linear = name.substring(0, Math.max(0, name.lastIndexOf('.')));
            if (!packed.contains(linear)
                    || name.equals(linear + BIAS)
                    || name.equals(linear + WEIGHT)) {
                infos.put(name, source.info(name));
            } else {
                if (!linears.containsKey(linear)) {
                    throw new FormatException(
                            source.file(name),
                            "'%s' is packed, but a %s has no such layer"
                                    .formatted(linear, spec.modelType()));
                }
                TensorInfo weight = weight(source, linears.get(linear), spec.inOutLinears());
                infos.put(weight.name(), weight);
            }
        }
        HfConfig config =
                source.config()
                        .with("quantization_config", (JsonNode) null)
                        .with("compression_config", (JsonNode) null);
        return source.derived(
                config,
                infos,
                (name, base, memory) -> {
                    String linear = name.substring(0, Math.max(0, name.lastIndexOf('.')));
                    return source.has(name)
                            ? base.tensor(name)
                            : values(
                                    base,
                                    linears.get(linear),
                                    infos.get(name).dtype(),
                                    spec.inOutLinears(),
                                    memory);
                });
    }

    /// What plain weights have no place for.
    private static Set<String> cacheScales(Checkpoint source, ModelSpec spec) {
        return source.kvCache().isEmpty()
                ? Set.of()
                : spec.layers().stream()
                        .flatMap(LayerSpec::bodies)
                        .flatMap(body -> body.cache().stream())
                        .flatMap(cache -> cache.scales().stream())
                        .collect(Collectors.toSet());
    }

    private static TensorInfo weight(Checkpoint source, LinearSpec linear, boolean inOut) {
        DType dtype =
                source.names().stream()
                        .filter(n ->
                                n.startsWith(linear.name() + ".")
                                        && !n.equals(linear.name() + BIAS))
                        .map(n -> source.info(n).dtype())
                        .filter(DType::isFloat)
                        .findFirst()
                        .orElse(DType.F16);
        String name = linear.name() + WEIGHT;
        return inOut
                ? TensorInfo.of(name, dtype, linear.in(), linear.out())
                : TensorInfo.of(name, dtype, linear.out(), linear.in());
    }

    private static Tensor values(
            TensorReader base, LinearSpec linear, DType dtype, boolean inOut, Arena memory) {
        Weight w = base.weight(linear.name());
        if (w.outFeatures() != linear.out() || w.inFeatures() != linear.in()) {
            throw new FormatException(
                    base.checkpoint().directory(),
                    "'%s' is [%d, %d], expected [%d, %d]"
                            .formatted(
                                    linear.name(),
                                    w.outFeatures(),
                                    w.inFeatures(),
                                    linear.out(),
                                    linear.in()));
        }
        Tensor values = Dequantizer.values(w, dtype, memory);
        return inOut ? Transpose.of(values, memory) : values;
    }
}
