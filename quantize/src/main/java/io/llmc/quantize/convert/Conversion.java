// SPDX-License-Identifier: Apache-2.0
package io.llmc.quantize.convert;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import io.llmc.formats.Dequantizer;
import io.llmc.formats.FormatException;
import io.llmc.formats.GridSpec;
import io.llmc.formats.HfConfig;
import io.llmc.formats.LayerPlan;
import io.llmc.formats.Solver;
import io.llmc.formats.TensorInfo;
import io.llmc.formats.UserException;
import io.llmc.formats.checkpoint.Checkpoint;
import io.llmc.formats.checkpoint.QuantPlan;
import io.llmc.formats.checkpoint.TensorReader;
import io.llmc.formats.checkpoint.WeightLayout;
import io.llmc.model.LayerSpec;
import io.llmc.model.LayerSpec.LinearSpec;
import io.llmc.model.ModelSpec;
import io.llmc.model.arch.Architectures;
import io.llmc.model.language.Transpose;
import io.llmc.pipeline.sweep.Surroundings;
import io.llmc.tensor.DType;
import io.llmc.tensor.Encoding;
import io.llmc.tensor.Floats;
import io.llmc.tensor.Scheme;
import io.llmc.tensor.Schemes;
import io.llmc.tensor.Shape;
import io.llmc.tensor.Tensor;
import io.llmc.tensor.Weight;
import java.lang.foreign.Arena;
import java.lang.foreign.ValueLayout;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.SequencedMap;
import java.util.SequencedSet;
import java.util.Set;
import java.util.stream.Collectors;
import java.util.stream.Stream;

/// A packed model in another spelling: the same codes, scales and zero points, or the plain values
/// that they stand for. What is not packed stays as it is.
final class Conversion implements Checkpoint.Derivation {
    private static final String WEIGHT = ".weight";

    private final Checkpoint source;
    private final WeightLayout layout;
    private final String toolVersion;
    private final ModelSpec spec;
    private final Map<String, LinearSpec> linears;
    private final SequencedMap<String, Layer> layers = new LinkedHashMap<>();
    private final SequencedSet<String> notes = new LinkedHashSet<>();

    /// A packed layer as it will be spelled.
    ///
    /// @param scheme empty where it becomes plain
    /// @param type of the scales, or of plain values
    private record Layer(
            Optional<Scheme> scheme, DType type, boolean groupIndex, List<TensorInfo> tensors) {}

    /// Looks at every packed layer.
    ///
    /// @param toolVersion for the config
    /// @throws UserException where the layout cannot say what is there
    Conversion(Checkpoint source, WeightLayout layout, String toolVersion) {
        this.source = source;
        this.layout = layout;
        this.toolVersion = toolVersion;
        spec = Architectures.specOf(source);
        linears =
                Stream.of(
                                spec.layers().stream()
                                        .flatMap(l -> l.linears(spec.hidden()).stream()),
                                Stream.of(spec.headLayer()),
                                Stream.of(embedding()))
                        .flatMap(s -> s)
                        .collect(Collectors.toMap(LinearSpec::name, l -> l, (a, _) -> a));
        for (String linear : source.packedLinears()) {
            // A reader of its own for each layer, so that one is in memory at a time.
            try (TensorReader reader = source.reader()) {
                layers.put(linear, layer(reader, linear));
            }
        }
        if (layout.packs() && !layers.isEmpty()) {
            if (source.kvCache().isPresent() && !layout.caches()) {
                throw new UserException(
                        "layout %s has no place for the scales of a KV cache"
                                .formatted(layout.name()),
                        "use {save.layout} compressed-tensors or dense");
            }
            notes.addAll(layout.check(plan()));
        }
    }

    private LinearSpec embedding() {
        return new LinearSpec(spec.embedding(), spec.vocabulary(), spec.hidden(), false, List.of());
    }

    private Layer layer(TensorReader reader, String linear) {
        LinearSpec l = linears.get(linear);
        if (l == null) {
            throw new FormatException(
                    source.directory(),
                    "'%s' is packed, but a %s has no such layer"
                            .formatted(linear, spec.modelType()));
        }
        Shape shape = reader.require(linear);
        if (!shape.equals(new Shape(l.out(), l.in()))) {
            throw new FormatException(
                    source.directory(),
                    "'%s' is %s, expected [%d, %d]".formatted(linear, shape, l.out(), l.in()));
        }
        return layout.packs() ? packed(reader, l) : plain(reader, l);
    }

    private Layer plain(TensorReader reader, LinearSpec l) {
        DType type = reader.valueType(l.name());
        TensorInfo info =
                turned(l.name())
                        ? TensorInfo.of(l.name() + WEIGHT, type, l.in(), l.out())
                        : TensorInfo.of(l.name() + WEIGHT, type, l.out(), l.in());
        return new Layer(Optional.empty(), type, false, List.of(info));
    }

    private Layer packed(TensorReader reader, LinearSpec l) {
        String linear = l.name();
        boolean outside = linear.equals(spec.head()) && !layout.packsHead();
        if (outside || linear.equals(spec.embedding()) && !layout.packsEmbedding()) {
            throw new UserException(
                    "no reader of layout %s looks for a packed '%s'"
                            .formatted(layout.name(), linear),
                    "use {save.layout} compressed-tensors or dense");
        }
        Weight w = reader.weight(linear);
        if (!(w.encoding() instanceof Encoding.Grid<?> grid)) {
            throw new UserException(
                    "the weights of '%s' are read as plain values, so there are no codes to spell otherwise"
                            .formatted(linear),
                    "use {save.layout} dense");
        }
        Scheme scheme = new Scheme(grid, source.scheme(linear).flatMap(Scheme::inputs));
        DType type = scaleType(linear, grid, w);
        boolean indexed = w instanceof Weight.Grouped g && g.groupIndex() != null;
        GridSpec<?> spelled = new GridSpec<>(grid, type, 0);
        List<TensorInfo> planned =
                new ArrayList<>(
                        layout.plan(
                                new LayerPlan(linear, l.out(), l.in(), scheme, spelled, indexed)));
        requireZeros(linear, grid, w);
        return new Layer(Optional.of(scheme), type, indexed, planned);
    }

    /// Conv1D layers of GPT-2 lie the other way round; its output layer does not.
    private boolean turned(String linear) {
        return spec.inOutLinears() && !linear.equals(spec.head());
    }

    /// Scales keep their type where the layout has it, else they must be the same numbers in its
    /// own.
    private DType scaleType(String linear, Encoding.Grid<?> grid, Weight w) {
        Tensor scales = scales(w);
        DType own = scales.dtype();
        if (layout.holds(own)) {
            return own;
        }
        DType type = layout.grid(grid, own).scaleType();
        for (long i = 0; i < scales.shape().size(); i++) {
            float scale = Floats.get(scales.bytes(), own, i);
            if (Floats.round(scale, type) != scale) {
                throw new UserException(
                        "the scales of '%s' are %s, and %s holds %s, to which some would be rounded"
                                .formatted(linear, own, layout.name(), type),
                        "use {save.layout} compressed-tensors, or quantize the original model"
                                + " again");
            }
        }
        notes.add(
                "scales are the same numbers in %s instead of %s, and so will readers round the weights that they make"
                        .formatted(type, own));
        return type;
    }

    private static Tensor scales(Weight w) {
        return switch (w) {
            case Weight.Grouped grouped -> grouped.scales();
            case Weight.Scaled scaled -> scaled.scales();
            case Weight.Dense _, Weight.Blocks _ -> throw new IllegalArgumentException("no grid");
        };
    }

    private void requireZeros(String linear, Encoding.Grid<?> grid, Weight w) {
        int least = layout.grid(grid, scales(w).dtype()).minZero();
        if (!(w instanceof Weight.Grouped grouped) || least == 0) {
            return;
        }
        for (byte zero : grouped.zeros().bytes().toArray(ValueLayout.JAVA_BYTE)) {
            if ((zero & 0xff) < least) {
                throw new UserException(
                        "'%s' has a zero point of 0, which %s cannot hold: its readers disagree about it"
                                .formatted(linear, layout.name()),
                        "use {save.layout} gptq_v2 or compressed-tensors");
            }
        }
    }

    /// What the layout is asked to write.
    private QuantPlan plan() {
        SequencedMap<String, Scheme> schemes = new LinkedHashMap<>();
        List<String> indexed = new ArrayList<>();
        layers.forEach((linear, layer) -> {
            schemes.put(linear, layer.scheme.orElseThrow());
            if (layer.groupIndex) {
                indexed.add(linear);
            }
        });
        Solver stored = new Solver("convert", 0, Solver.Order.STORED, false, false);
        Solver ordered = new Solver("convert", 0, Solver.Order.ACTIVATIONS, true, false);
        List<QuantPlan.Solved> solved = new ArrayList<>();
        solved.add(new QuantPlan.Solved(stored, schemes.keySet()));
        if (!indexed.isEmpty()) {
            solved.add(new QuantPlan.Solved(ordered, Set.copyOf(indexed)));
        }
        List<String> plain = new ArrayList<>();
        plain.add(spec.tied() ? "lm_head" : spec.head());
        for (LayerSpec l : spec.layers()) {
            l.routers(spec.hidden()).forEach(r -> plain.add(r.name()));
            l.linears(spec.hidden()).forEach(linear -> plain.add(linear.name()));
        }
        plain.removeAll(layers.keySet());
        plain.addAll(Surroundings.modules(source, spec, plain, schemes.keySet()));
        return new QuantPlan(
                new Schemes(schemes, source.kvCache()),
                solved,
                plain,
                Surroundings.place(source, spec),
                spec.modelType(),
                layers.containsKey(spec.embedding()) ? spec.embedding() : null,
                spec.inOutLinears());
    }

    /// What a user should know before any work.
    List<String> notes() {
        return List.copyOf(notes);
    }

    /// @return `source` itself where it has nothing packed
    Checkpoint checkpoint() {
        if (layers.isEmpty()) {
            return source;
        }
        SequencedMap<String, TensorInfo> infos = new LinkedHashMap<>();
        for (String name : source.names()) {
            Optional<Layer> layer = Optional.ofNullable(layers.get(together(name)));
            if (layer.isEmpty()) {
                infos.put(name, source.info(name));
            } else {
                layer.get().tensors.forEach(info -> infos.put(info.name(), info));
            }
        }
        return source.derived(config(), infos, this);
    }

    private HfConfig config() {
        Optional<ObjectNode> packed =
                layout.packs() ? layout.quantizationConfig(plan(), toolVersion) : Optional.empty();
        return source.config()
                .with("quantization_config", (JsonNode) packed.orElse(null))
                .with("compression_config", (JsonNode) null);
    }

    /// The tensors of a packed layer are made of each other.
    @Override
    public String together(String name) {
        if (source.has(name)) {
            return source.packedLinear(name).orElse(name);
        }
        return layers.keySet().stream()
                .filter(linear -> name.startsWith(linear + "."))
                .findFirst()
                .orElse(name);
    }

    @Override
    public Map<String, Tensor> tensors(String linear, TensorReader base, Arena memory) {
        Layer layer = layers.get(linear);
        if (layer == null) {
            return Map.of(linear, base.tensor(linear));
        }
        Weight w = base.weight(linear);
        if (layer.scheme.isEmpty()) {
            Tensor values = Dequantizer.values(w, layer.type, memory);
            return Map.of(linear + WEIGHT, turned(linear) ? Transpose.of(values, memory) : values);
        }
        SequencedMap<String, Tensor> tensors =
                new LinkedHashMap<>(
                        layout.encode(linear, w, layer.scheme.get(), layer.type, memory));
        base.rounding(linear)
                .ifPresent(inputs -> tensors.putAll(layout.encode(linear, inputs, memory)));
        return tensors;
    }

    @Override
    public Tensor tensor(String name, TensorReader base, Arena memory) {
        return tensors(together(name), base, memory).get(name);
    }
}
