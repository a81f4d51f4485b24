// SPDX-License-Identifier: Apache-2.0
package io.llmc.model;

import io.llmc.formats.FormatException;
import io.llmc.formats.TensorInfo;
import io.llmc.formats.UserException;
import io.llmc.formats.checkpoint.Checkpoint;
import io.llmc.formats.checkpoint.Layouts;
import io.llmc.formats.checkpoint.TensorReader;
import io.llmc.model.LayerSpec.LinearSpec;
import io.llmc.model.structure.CacheSpec;
import io.llmc.model.structure.NormSpec;
import io.llmc.model.structure.Size;
import io.llmc.tensor.DType;
import io.llmc.tensor.Shape;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.SequencedMap;
import java.util.Set;
import java.util.stream.Collectors;
import java.util.stream.Stream;

/// Every tensor that a model reads, from its config.json alone, to be compared with those that its
/// checkpoint has.
public final class TensorTable {
    private final ModelSpec spec;
    private final Architecture architecture;

    /// Names of linear layers, without `.weight`.
    private final SequencedMap<String, Expected> linears = new LinkedHashMap<>();

    /// Everything else.
    private final SequencedMap<String, Expected> others = new LinkedHashMap<>();

    /// Layers whose keys and values may be rounded.
    private final List<CacheSpec> caches;

    /// @param keys of config.json that make the shape, for people; may be empty
    /// @param type null for any of floats
    private record Expected(String keys, DType type, long... dims) {
        Expected(String keys, long... dims) {
            this(keys, null, dims);
        }
    }

    public TensorTable(ModelSpec spec, Architecture architecture) {
        this.spec = spec;
        this.architecture = architecture;
        String hidden = architecture.key(Size.HIDDEN);
        // As a linear layer, it may be packed.
        linears.put(
                spec.embedding(),
                new Expected("vocab_size, " + hidden, spec.input().rows(), spec.input().width()));
        if (spec.positionEmbedding() != null) {
            add(
                    spec.positionEmbedding() + ".weight",
                    "n_positions, " + hidden,
                    spec.maxPositions() + (long) spec.input().offset(),
                    spec.hidden());
        }
        add(spec.input().norm(), Size.HIDDEN, spec.hidden());
        spec.projections().forEach(l -> add(l, keys(l.sizes())));
        spec.outerTensors().forEach(this::add);
        if (spec.rows().inputs() != null) {
            var inputs = spec.rows().inputs();
            add(
                    inputs.table() + ".weight",
                    keys(List.of(Size.LAYERS)),
                    inputs.rows(),
                    inputs.all());
            add(inputs.norm(), Size.LAYERS, inputs.width());
        }
        spec.layers().forEach(this::add);
        caches =
                spec.layers().stream()
                        .flatMap(LayerSpec::bodies)
                        .flatMap(body -> body.cache().stream())
                        .toList();
        add(spec.finalNorm(), Size.HIDDEN, spec.hidden());
        if (!spec.tied()) {
            add(spec.headLayer(), "vocab_size, " + hidden);
        } else if (spec.output().biased()) {
            add(spec.head() + ".bias", "vocab_size", spec.vocabulary());
        }
    }

    private void add(LayerSpec layer) {
        for (BranchSpec branch : layer.branches().stream().flatMap(SumSpec::terms).toList()) {
            add(branch.pre(), Size.HIDDEN, spec.hidden());
            branch.body().innerNorms().forEach(n -> add(n.norm(), n.size(), n.dims()));
            add(branch.post(), Size.HIDDEN, spec.hidden());
            add(branch.after(), Size.HIDDEN, spec.hidden());
            if (branch.scalar() != null) {
                add(branch.scalar(), "", 1);
            }
        }
        if (layer.streams() != null) {
            layer.streams()
                    .tensors()
                    .forEach(t -> add(t.name(), keys(t.sizes()), t.shape().dims()));
        }
        for (BodySpec body : layer.bodies().toList()) {
            body.routers(spec.hidden()).forEach(l -> add(l, keys(l.sizes())));
            body.linears(spec.hidden()).forEach(l -> add(l, keys(l.sizes())));
            body.innerTensors().forEach(this::add);
        }
    }

    /// The keys of some sizes; a family may have one key for two of them.
    private String keys(List<Size> sizes) {
        return sizes.stream().map(architecture::key).distinct().collect(Collectors.joining(", "));
    }

    private void add(LinearSpec linear, String keys) {
        linears.put(linear.name(), new Expected(keys, linear.out(), linear.in()));
        if (linear.bias()) {
            add(linear.name() + ".bias", keys, linear.out());
        }
    }

    private void add(NormSpec norm, Size size, long... dims) {
        if (norm == null) {
            return;
        }
        String keys = architecture.key(size);
        if (norm.weighted()) {
            add(norm.name() + ".weight", keys, dims);
        }
        if (norm.biased()) {
            add(norm.name() + ".bias", keys, dims);
        }
    }

    private void add(String name, String keys, long... dims) {
        others.put(name, new Expected(keys, dims));
    }

    private void add(BodySpec.InnerTensor t) {
        others.put(t.name(), new Expected(keys(t.sizes()), t.type(), t.shape().dims()));
    }

    /// All of them as they would be stored plain, floats in one type.
    public List<TensorInfo> tensors(DType type) {
        List<TensorInfo> all = new ArrayList<>();
        linears.forEach((name, expected) ->
                all.add(new TensorInfo(name + ".weight", type, new Shape(stored(name, expected)))));
        others.forEach((name, expected) ->
                all.add(
                        new TensorInfo(
                                name,
                                expected.type() == null ? type : expected.type(),
                                new Shape(expected.dims()))));
        return all;
    }

    /// Numbers of the model, one that is used twice counted once.
    public long parameters() {
        return tensors(DType.F32).stream().mapToLong(t -> t.shape().size()).sum();
    }

    /// The shape of a plain weight in the files.
    private long[] stored(String linear, Expected expected) {
        boolean outer =
                linear.equals(spec.head())
                        || linear.equals(spec.embedding())
                        || spec.projections().stream().anyMatch(l -> l.name().equals(linear));
        long[] dims = expected.dims();
        return spec.inOutLinears() && !outer ? new long[] {dims[1], dims[0]} : dims;
    }

    /// Looks into packed weights as well, at what is small of them.
    ///
    /// @throws FormatException where a tensor is missing, or has another shape or a type that no
    ///   weight has, or where packed weights make no sense
    /// @throws UserException where there is nothing to make logits with
    public void requireIn(Checkpoint c) {
        others.forEach((name, expected) -> {
            if (!c.has(name)) {
                throw missing(c, name);
            }
            requireShape(c, name, expected);
        });
        linears.forEach((name, expected) -> {
            if (packed(c, name)) {
                requirePacked(c, name, expected);
            } else if (c.has(name + ".weight")) {
                Expected plain = new Expected(expected.keys(), stored(name, expected));
                requireShape(c, name + ".weight", plain);
            } else {
                throw missing(c, name);
            }
        });
        scales(c)
                .filter(name -> !c.has(name))
                .findFirst()
                .ifPresent(name -> {
                    throw new FormatException(
                            c.directory(),
                            "has no tensor '%s', though kv_cache_scheme in its config asks for it"
                                    .formatted(name));
                });
    }

    /// Scales of keys and values, in a model that rounds them.
    private Stream<String> scales(Checkpoint c) {
        return c.kvCache().isEmpty()
                ? Stream.of()
                : caches.stream().flatMap(cache -> cache.scales().stream());
    }

    private static boolean packed(Checkpoint c, String linear) {
        return Layouts.ALL.stream().anyMatch(l -> l.packs() && l.matches(c, linear));
    }

    private static void requirePacked(Checkpoint c, String linear, Expected expected) {
        // A reader of its own for each layer, so that one is mapped at a time.
        try (TensorReader reader = c.reader()) {
            Shape shape = reader.require(linear);
            if (!Arrays.equals(shape.dims(), expected.dims())) {
                throw misfit(
                        c.directory(),
                        linear,
                        shape.toString(),
                        " (" + expected.keys() + ")",
                        expected.dims());
            }
        }
    }

    private RuntimeException missing(Checkpoint c, String name) {
        if (name.equals(spec.head())) {
            return new UserException(
                    "%s: has no tensor '%s.weight', and tie_word_embeddings in config.json is not true"
                            .formatted(c.directory(), name),
                    "set it to true if the output layer of this model is its embedding, or download"
                            + " the model again");
        }
        if (linears.containsKey(name)) {
            return new FormatException(
                    c.directory(),
                    "has no weight for '%s': expected '%s.weight', or its packed form and a quantization_config that explains it"
                            .formatted(name, name));
        }
        String key = name.contains(".mlp.") ? "mlp_bias" : "attention_bias";
        boolean declared = name.endsWith(".bias") && c.config().flag(key, false);
        return new FormatException(
                c.directory(),
                "has no tensor '%s'%s: is this the whole model?"
                        .formatted(
                                name,
                                declared
                                        ? ", though %s is true in config.json".formatted(key)
                                        : ""));
    }

    private static void requireShape(Checkpoint c, String name, Expected expected) {
        TensorInfo info = c.info(name);
        DType type = expected.type();
        if (type == null ? !info.dtype().isFloat() : info.dtype() != type) {
            throw new FormatException(
                    c.file(name),
                    "tensor '%s' is %s, expected %s: start from the model in one of these"
                            .formatted(
                                    name,
                                    info.dtype(),
                                    type == null ? "F64, F32, F16 or BF16" : type));
        }
        if (!Arrays.equals(info.shape().dims(), expected.dims())) {
            String made = expected.keys().isEmpty() ? "" : " (" + expected.keys() + ")";
            throw misfit(c.directory(), name, info.shape().toString(), made, expected.dims());
        }
    }

    /// @param keys of config.json that make the shape, in brackets; may be empty
    public static FormatException misfit(
            Path place, String name, String shape, String keys, long... dims) {
        return new FormatException(
                place,
                "%s is %s, but config.json makes it %s%s; one of the two is from another model"
                        .formatted(name, shape, Arrays.toString(dims), keys));
    }

    /// The tensors that nothing reads, in file order, but for buffers that every reader computes.
    public List<String> unread(Checkpoint c) {
        Set<String> scales = scales(c).collect(Collectors.toSet());
        return c.names().stream()
                .filter(name ->
                        !reads(c, name) && !scales.contains(name) && !architecture.isBuffer(name))
                .toList();
    }

    private boolean reads(Checkpoint c, String name) {
        return others.containsKey(name)
                || name.endsWith(".weight")
                        && linears.containsKey(
                                name.substring(0, name.length() - ".weight".length()))
                || c.packedLinear(name).filter(linears::containsKey).isPresent();
    }

    /// What the names of the blocks' tensors begin with, before a block's number.
    public String blocks() {
        String first = spec.layers().getFirst().prefix();
        return first.substring(0, first.lastIndexOf('0'));
    }
}
