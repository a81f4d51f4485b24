// SPDX-License-Identifier: Apache-2.0
package io.llmc.pipeline.sweep;

import com.fasterxml.jackson.databind.node.ObjectNode;
import io.llmc.formats.GridSpec;
import io.llmc.formats.HfConfig;
import io.llmc.formats.LayerPlan;
import io.llmc.formats.Solver;
import io.llmc.formats.TensorInfo;
import io.llmc.formats.UserException;
import io.llmc.formats.checkpoint.Checkpoint;
import io.llmc.formats.checkpoint.QuantPlan;
import io.llmc.formats.checkpoint.WeightLayout;
import io.llmc.model.LayerSpec;
import io.llmc.model.LayerSpec.LinearSpec;
import io.llmc.model.ModelSpec;
import io.llmc.model.arch.Architectures;
import io.llmc.model.structure.Size;
import io.llmc.pipeline.SweepPlan;
import io.llmc.pipeline.pass.BlockPass;
import io.llmc.pipeline.reader.Output;
import io.llmc.pipeline.reader.Target;
import io.llmc.tensor.CacheScheme;
import io.llmc.tensor.Codes;
import io.llmc.tensor.DType;
import io.llmc.tensor.Encoding;
import io.llmc.tensor.Scheme;
import io.llmc.tensor.Schemes;
import io.llmc.tensor.Shape;
import io.llmc.tensor.Tiles;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.SequencedMap;
import java.util.SequencedSet;
import java.util.Set;
import java.util.stream.Collectors;
import java.util.stream.IntStream;
import java.util.stream.LongStream;

/// What the tensors of a sweep's output are called, and how large they are, from headers alone.
final class OutputPlan {
    private final Checkpoint checkpoint;
    private final List<ModelSpec> specs = new ArrayList<>();
    private final HfConfig config;
    private final List<BlockPass> passes;
    private boolean reshapes;
    private final WeightLayout layout;

    /// Whether the model is packed as it will be written, so that tensors and config are copied.
    private final boolean packed;

    private final List<Set<String>> selected = new ArrayList<>();
    private final SequencedSet<String> notes = new LinkedHashSet<>();
    private final SequencedMap<String, SweepPlan.Module> modules = new LinkedHashMap<>();
    private final SequencedMap<String, SweepPlan.Module> outside = new LinkedHashMap<>();
    private final SequencedMap<String, List<TensorInfo>> encoded = new LinkedHashMap<>();
    private List<TensorInfo> tensors;

    /// @param outer how layers outside of the blocks are rounded, by name
    OutputPlan(
            Checkpoint checkpoint,
            ModelSpec spec,
            SequencedMap<String, Scheme> outer,
            List<BlockPass> passes,
            WeightLayout layout) {
        this.checkpoint = checkpoint;
        this.passes = passes;
        this.layout = layout;
        packed = passes.isEmpty() && outer.isEmpty() && checkpoint.isQuantized();
        if (!packed) {
            requirePlain(checkpoint);
        }
        specs.add(spec);
        HfConfig changed = checkpoint.config();
        Set<String> named =
                checkpoint.names().stream()
                        .map(OutputPlan::module)
                        .collect(Collectors.toCollection(LinkedHashSet::new));
        for (BlockPass pass : passes) {
            if (pass.compares() && !specs.getLast().layers().equals(spec.layers())) {
                throw new UserException(
                        "%s compares with the original model, whose sizes another pass changes"
                                .formatted(pass.name()),
                        "change the sizes first, in a sweep of its own");
            }
            selected.add(pass.targets().resolve(pass.name(), specs.getLast(), named, notes));
            pass.check(specs.getLast());
            notes.addAll(pass.notes(specs.getLast()));
            Map<Size, Integer> sizes = pass.sizes(specs.getLast());
            if (!sizes.isEmpty()) {
                requireDense(pass);
                changed = Architectures.of(changed).resized(changed, specs.getLast(), sizes);
            }
            reshapes |= !sizes.isEmpty() || pass.rescales();
            specs.add(Architectures.specOf(changed, checkpoint.names()));
        }
        this.config = changed;
        PassOrder.requireRounding(passes, selected);
        for (int i = 0; i < spec.layers().size(); i++) {
            if (!packed) {
                requireMatrices(spec.layers().get(i));
            }
            for (LinearSpec linear : target().layers().get(i).linears(target().hidden())) {
                plan(i, linear);
            }
        }
        outer.forEach(this::planOuter);
        cache().ifPresent(_ -> requireCaches());
        if (!packed) {
            notes.addAll(layout.check(quantPlan()));
        }
        notes.addAll(Target.notes(read()));
        if (!layout.packs()) {
            noteInputs();
        }
    }

    /// What a tensor belongs to.
    private static String module(String tensor) {
        return tensor.substring(0, Math.max(0, tensor.lastIndexOf('.')));
    }

    /// A block cannot take another size once its weights have a grid.
    private void requireDense(BlockPass pass) {
        for (BlockPass before : passes.subList(0, specs.size() - 1)) {
            if (before.solver().isPresent()) {
                throw new UserException(
                        "%s changes the model's sizes, so it must stand before %s"
                                .formatted(pass.name(), before.name()),
                        "swap the two");
            }
        }
    }

    /// Nothing works on a layer that has been packed, and nothing quantizes one twice.
    private void requireDense(String layer, List<BlockPass> mine) {
        BlockPass quantizer = null;
        for (BlockPass pass : mine) {
            if (pass.refines()) {
                requirePacked(pass, layer, quantizer);
                continue;
            }
            boolean quantizes = pass.solver().isPresent();
            if (quantizer != null && (quantizes || layout.packs())) {
                throw new UserException(
                        "%s would work on %s, which %s has quantized before it"
                                .formatted(pass.name(), layer, quantizer.name()),
                        "swap the two, or give each its own layers with targets and ignore");
            }
            quantizer = quantizes ? pass : quantizer;
        }
    }

    /// Who refines codes needs some, in groups that lie side by side.
    private void requirePacked(BlockPass pass, String layer, BlockPass quantizer) {
        String name = pass.name();
        if (quantizer == null) {
            throw new UserException(
                    "%s refines codes, and nothing before it has rounded %s".formatted(name, layer),
                    "put gptq before it, or leave that layer out with {ignore}");
        }
        if (!layout.packs()) {
            throw new UserException(
                    "%s refines codes, and layout %s keeps none".formatted(name, layout.name()),
                    "write another layout; llmc quantize OUT --layout dense makes it plain then");
        }
        if (quantizer.solver().orElseThrow().groupIndex()) {
            throw new UserException(
                    "%s wants groups of neighbours, and those of %s follow the order of activations"
                            .formatted(name, quantizer.name()),
                    "set {actOrder} to static");
        }
    }

    /// The model before the first pass.
    private ModelSpec source() {
        return specs.getFirst();
    }

    /// The model after the last pass.
    ModelSpec target() {
        return specs.getLast();
    }

    /// The model after the first `passesDone` passes.
    ModelSpec spec(int passesDone) {
        return specs.get(passesDone);
    }

    /// Whether some pass puts other blocks in the place of the model's, so that all of their
    /// weights are written anew.
    boolean reshapes() {
        return reshapes;
    }

    private void requireMatrices(LayerSpec layer) {
        for (LinearSpec linear : layer.linears(source().hidden())) {
            TensorInfo weight = checkpoint.info(linear.name() + ".weight");
            if (weight.shape().rank() != 2) {
                throw new UserException(
                        "%s has shape %s, expected a matrix"
                                .formatted(weight.name(), weight.shape()),
                        "the checkpoint is not what its config.json says");
            }
        }
    }

    private void plan(int block, LinearSpec linear) {
        String name = linear.name();
        if (packed) {
            long bytes =
                    checkpoint.names().stream()
                            .filter(n -> n.startsWith(name + "."))
                            .mapToLong(n -> checkpoint.info(n).byteSize())
                            .sum();
            Optional<Scheme> scheme = checkpoint.scheme(name);
            modules.put(
                    name,
                    new SweepPlan.Module(
                            name, block, linear.out(), linear.in(), "", scheme, bytes));
            return;
        }
        TensorInfo weight = checkpoint.info(name + ".weight");
        List<BlockPass> mine = passes.stream().filter(p -> selects(p, name)).toList();
        requireDense(name, mine);
        Optional<Scheme> scheme =
                mine.stream()
                        .map(pass -> pass.scheme(linear))
                        .flatMap(Optional::stream)
                        .reduce((_, b) -> b);
        scheme.ifPresent(s -> requireDivides(name, grid(s), linear.in()));
        List<TensorInfo> tensors =
                scheme.isPresent() && layout.packs()
                        ? spell(linear, scheme.get(), mine)
                        : List.of(dense(linear, weight.dtype()));
        if (!mine.isEmpty() || reshapes) {
            encoded.put(name, tensors);
        }
        String method = mine.stream().map(BlockPass::name).collect(Collectors.joining("+"));
        long bytes = tensors.stream().mapToLong(TensorInfo::byteSize).sum();
        modules.put(
                name,
                new SweepPlan.Module(
                        name, block, linear.out(), linear.in(), method, scheme, bytes));
    }

    private void planOuter(String name, Scheme scheme) {
        boolean embedding = name.equals(target().embedding());
        if (layout.packs() && !(embedding ? layout.packsEmbedding() : layout.packsHead())) {
            throw new UserException(
                    "no reader of layout %s looks for a packed %s"
                            .formatted(
                                    layout.name(), embedding ? "token embedding" : "output layer"),
                    "use {save.layout} compressed-tensors, or leave %s as it is".formatted(name));
        }
        LinearSpec linear =
                new LinearSpec(name, target().vocabulary(), target().hidden(), false, List.of());
        requireDivides(name, grid(scheme), linear.in());
        List<TensorInfo> tensors =
                layout.packs()
                        ? spell(linear, scheme, List.of())
                        : List.of(
                                TensorInfo.of(
                                        name + ".weight", dtype(name), linear.out(), linear.in()));
        encoded.put(name, tensors);
        long bytes = tensors.stream().mapToLong(TensorInfo::byteSize).sum();
        outside.put(
                name,
                new SweepPlan.Module(
                        name,
                        target().layers().size(),
                        linear.out(),
                        linear.in(),
                        "rtn",
                        Optional.of(scheme),
                        bytes));
    }

    private List<TensorInfo> spell(LinearSpec linear, Scheme scheme, List<BlockPass> passes) {
        boolean groupIndex =
                passes.stream().flatMap(p -> p.solver().stream()).anyMatch(Solver::groupIndex);
        return layout.plan(
                new LayerPlan(
                        linear.name(),
                        linear.out(),
                        linear.in(),
                        scheme,
                        layout.grid(grid(scheme), dtype(linear.name())),
                        groupIndex));
    }

    /// Passes make no other encoding than grids.
    private static Encoding.Grid<?> grid(Scheme scheme) {
        return (Encoding.Grid<?>) scheme.weights();
    }

    private TensorInfo dense(LinearSpec linear, DType dtype) {
        return source().inOutLinears()
                ? TensorInfo.of(linear.name() + ".weight", dtype, linear.in(), linear.out())
                : TensorInfo.of(linear.name() + ".weight", dtype, linear.out(), linear.in());
    }

    /// Groups along the input are whole; blocks may be cut off at the edges.
    private static void requireDivides(String name, Encoding.Grid<?> grid, long in) {
        Tiles tiles = grid.tiles();
        if (tiles.cols() == Tiles.ALL || tiles.rows() != 1 || in % tiles.cols() == 0) {
            return;
        }
        if (grid.codes() instanceof Codes.Floats) {
            throw new UserException(
                    "groups of %d do not divide the %d inputs of %s"
                            .formatted(tiles.cols(), in, name),
                    "leave the layer out with {ignore}, or choose another scheme");
        }
        String fitting =
                LongStream.of(16, 32, 48, 64, 96, 128, 192, 256, 512)
                        .filter(g -> in % g == 0)
                        .mapToObj(Long::toString)
                        .collect(Collectors.joining(", "));
        throw new UserException(
                "group size %d does not divide the %d inputs of %s"
                        .formatted(grid.tiles().cols(), in, name),
                "these do: " + (fitting.isEmpty() ? "" : fitting + ", ") + "channel");
    }

    /// Whether a pass works on a layer.
    boolean selects(BlockPass pass, String linear) {
        return IntStream.range(0, passes.size())
                .anyMatch(p -> passes.get(p).equals(pass) && selected.get(p).contains(linear));
    }

    /// As its readers see it.
    Output read() {
        Set<String> indexed =
                modules.keySet().stream()
                        .filter(linear -> packed && checkpoint.indexed(linear))
                        .collect(Collectors.toCollection(HashSet::new));
        for (int p = 0; p < passes.size(); p++) {
            if (passes.get(p).solver().map(Solver::groupIndex).orElse(false)) {
                indexed.addAll(selected.get(p));
            }
        }
        return new Output(
                source(), target(), layout.name(), quantPlan().schemes().byLinear(), indexed);
    }

    /// What a user should know before any work. Plain weights have no place for what a scheme does
    /// to the inputs.
    private void noteInputs() {
        long rounded =
                modules.values().stream()
                        .filter(m -> m.scheme().flatMap(Scheme::inputs).isPresent())
                        .count();
        if (rounded > 0) {
            notes.add(
                    "%s weights say nothing of inputs: those of %d layers will not be rounded"
                            .formatted(layout.name(), rounded));
        }
    }

    List<String> notes() {
        return List.copyOf(notes);
    }

    WeightLayout layout() {
        return layout;
    }

    /// The output's config, but for what the layout adds.
    HfConfig config() {
        return config;
    }

    /// config.json and what the layout keeps beside it.
    void writeConfig(String toolVersion, Path work) {
        HfConfig written = config;
        Optional<ObjectNode> quantization =
                packed
                        ? checkpoint.quantization()
                        : layout.quantizationConfig(quantPlan(), toolVersion);
        if (quantization.isPresent()) {
            written = written.with("quantization_config", quantization.get());
            layout.writeExtraFiles(work, quantization.get());
        }
        written.write(work.resolve("config.json"));
    }

    /// A layer's grid as it will be written.
    <C extends Codes> GridSpec<C> grid(String linear, Encoding.Grid<C> grid) {
        return layout.grid(grid, dtype(linear));
    }

    /// How the output rounds keys and values; empty where it does not.
    Optional<CacheScheme> cache() {
        return passes.stream().map(BlockPass::cache).flatMap(Optional::stream).reduce((_, b) -> b);
    }

    private void requireCaches() {
        if (!layout.caches()) {
            throw new UserException(
                    "layout %s has no place for the scales of a KV cache".formatted(layout.name()),
                    "use {save.layout} compressed-tensors, or leave the KV cache as it is");
        }
        if (modules.values().stream().allMatch(m -> m.scheme().isEmpty())) {
            throw new UserException(
                    "a KV cache is rounded, but no weight: readers look for its scales in quantized"
                            + " models only",
                    "add a method that rounds weights, as rtn with scheme fp8-dynamic");
        }
        boolean none =
                target().layers().stream()
                        .flatMap(LayerSpec::bodies)
                        .allMatch(b -> b.cache().isEmpty());
        if (none) {
            throw new UserException(
                    "no layer of a %s caches keys and values by themselves"
                            .formatted(target().modelType()),
                    "leave the KV cache as it is");
        }
    }

    /// The scales of a block's keys and values, in the type of its attention's weights.
    private List<TensorInfo> scales(LayerSpec layer) {
        List<TensorInfo> scales = new ArrayList<>();
        cache().ifPresent(scheme ->
                layer.bodies()
                        .flatMap(body -> body.cache().stream())
                        .forEach(c -> {
                            long[] dims =
                                    !scheme.byHead()
                                            ? new long[] {1}
                                            : new long[] {c.heads(), 1, 1};
                            DType type = cacheType(layer);
                            scales.add(TensorInfo.of(c.keyScales(), type, dims));
                            scales.add(TensorInfo.of(c.valueScales(), type, dims));
                        }));
        return scales;
    }

    /// The type that a block's scales of keys and values have: that of its weights.
    DType cacheType(LayerSpec layer) {
        return dtype(layer.linears(target().hidden()).getFirst().name());
    }

    /// How a layer will be quantized in the output; empty where it is plain there.
    Optional<Scheme> scheme(String linear) {
        return layout.packs()
                ? outside.getOrDefault(linear, modules.get(linear)).scheme()
                : Optional.empty();
    }

    /// The type of a layer's plain weight.
    DType dtype(String linear) {
        return checkpoint.info(linear + ".weight").dtype();
    }

    /// Whether a layer's weight is written as plain numbers.
    boolean isDense(String linear) {
        return scheme(linear).isEmpty();
    }

    /// Names of a layer's tensors in the output; empty where it stays as it is.
    List<TensorInfo> encoded(String linear) {
        return encoded.getOrDefault(linear, List.of());
    }

    SequencedMap<String, SweepPlan.Module> modules() {
        return modules;
    }

    /// Layers outside of the blocks that are rounded.
    SequencedMap<String, SweepPlan.Module> outside() {
        return outside;
    }

    /// What the layout is asked to write.
    QuantPlan quantPlan() {
        SequencedMap<String, Scheme> schemes = new LinkedHashMap<>();
        List<String> plain = new ArrayList<>();
        String head = target().tied() ? "lm_head" : target().head();
        if (layout.packs()) {
            outside.forEach((name, m) -> schemes.put(name, m.scheme().orElseThrow()));
        }
        if (!schemes.containsKey(head)) {
            plain.add(head);
        }
        target().layers().stream()
                .flatMap(l -> l.routers(target().hidden()).stream())
                .map(LinearSpec::name)
                .forEach(plain::add);
        if (packed) {
            for (String outer : List.of(head, target().embedding())) {
                checkpoint.scheme(outer).ifPresent(s -> schemes.put(outer, s));
            }
            plain.removeAll(schemes.keySet());
        }
        for (String linear : modules.keySet()) {
            scheme(linear).ifPresentOrElse(s -> schemes.put(linear, s), () -> plain.add(linear));
        }
        plain.addAll(Surroundings.modules(checkpoint, target(), plain, schemes.keySet()));
        List<QuantPlan.Solved> solved = new ArrayList<>();
        if (!outside.isEmpty()) {
            Solver nearest = new Solver("rtn", 0, Solver.Order.STORED, false, false);
            solved.add(new QuantPlan.Solved(nearest, outside.keySet()));
        }
        for (int p = 0; p < passes.size(); p++) {
            Set<String> linears = selected.get(p);
            passes.get(p)
                    .solver()
                    .ifPresent(solver -> solved.add(new QuantPlan.Solved(solver, linears)));
        }
        return new QuantPlan(
                new Schemes(schemes, cache()),
                solved,
                plain,
                Surroundings.place(checkpoint, target()),
                target().modelType(),
                schemes.containsKey(target().embedding()) ? target().embedding() : null,
                target().inOutLinears());
    }

    /// Every tensor of the output in the order of the model's files.
    List<TensorInfo> tensors() {
        if (tensors == null) {
            tensors = allTensors();
        }
        return tensors;
    }

    private List<TensorInfo> allTensors() {
        Map<String, Long> rows = new HashMap<>();
        for (LayerSpec layer : target().layers()) {
            layer.linears(target().hidden()).forEach(l -> rows.put(l.name(), l.out()));
            layer.routers(target().hidden()).forEach(l -> rows.put(l.name(), l.out()));
        }
        Set<String> before = new HashSet<>();
        for (LayerSpec layer : source().layers()) {
            layer.linears(source().hidden()).forEach(l -> before.add(l.name()));
            layer.routers(source().hidden()).forEach(l -> before.add(l.name()));
        }
        Map<String, Shape> inner = new HashMap<>();
        target().layers().stream()
                .flatMap(LayerSpec::bodies)
                .flatMap(body -> body.innerTensors().stream())
                .forEach(t -> inner.put(t.name(), t.shape()));
        List<TensorInfo> all = new ArrayList<>();
        for (String name : checkpoint.names()) {
            TensorInfo info = checkpoint.info(name);
            String linear = module(name);
            if (inner.containsKey(name)) {
                all.add(new TensorInfo(name, info.dtype(), inner.get(name)));
            } else if (encoded.containsKey(linear) && name.endsWith(".weight")) {
                all.addAll(encoded.get(linear));
            } else if (!before.contains(linear)) {
                all.add(info);
            } else if (rows.containsKey(linear)) {
                all.add(withRows(info, rows.get(linear)));
            }
        }
        for (LayerSpec layer : target().layers()) {
            List<TensorInfo> scales = scales(layer);
            int last = all.size() - 1;
            while (last >= 0 && !all.get(last).name().startsWith(layer.prefix())) {
                last--;
            }
            all.addAll(last + 1, scales);
        }
        return all;
    }

    /// A bias or a router with as many entries as the layer has rows now.
    private TensorInfo withRows(TensorInfo info, long rows) {
        if (!reshapes) {
            return info;
        }
        long[] dims = info.shape().dims();
        dims[0] = rows;
        return TensorInfo.of(info.name(), info.dtype(), dims);
    }

    /// Numbers that the output's tensors stand for.
    long parameters() {
        if (packed) {
            return SweepStep.parameters(checkpoint);
        }
        Set<String> codes = new HashSet<>();
        long sum = 0;
        List<SweepPlan.Module> every = new ArrayList<>(modules.values());
        every.addAll(outside.values());
        for (SweepPlan.Module m : every) {
            if (!isDense(m.name())) {
                encoded.get(m.name()).forEach(t -> codes.add(t.name()));
                sum += m.out() * m.in();
            }
        }
        return sum
                + tensors().stream()
                        .filter(t -> !codes.contains(t.name()))
                        .mapToLong(t -> t.shape().size())
                        .sum();
    }

    /// The tensors of one block.
    List<TensorInfo> tensors(String prefix) {
        return tensors().stream().filter(t -> t.name().startsWith(prefix)).toList();
    }

    /// Whether these are the names of a block's tensors.
    boolean isBlock(int index, Set<String> names) {
        return index < target().layers().size()
                && tensors(target().layers().get(index).prefix()).stream()
                        .map(TensorInfo::name)
                        .collect(Collectors.toSet())
                        .equals(names);
    }

    /// @throws UserException where the weights are packed
    static void requirePlain(Checkpoint c) {
        if (c.isQuantized()) {
            throw new UserException(
                    c.directory() + " is already quantized",
                    "start from the original model, and prune before quantizing; what rounding lost"
                            + " does not come back, but llmc quantize %s -o PLAIN --layout dense writes plain weights"
                                    .formatted(c.directory()));
        }
    }
}
