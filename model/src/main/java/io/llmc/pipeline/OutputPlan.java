// SPDX-License-Identifier: Apache-2.0
package io.llmc.pipeline;

import io.llmc.formats.Checkpoint;
import io.llmc.formats.TensorInfo;
import io.llmc.formats.UserException;
import io.llmc.formats.WeightLayout;
import io.llmc.model.LayerSpec;
import io.llmc.model.ModelSpec;
import io.llmc.tensor.DType;
import io.llmc.tensor.QuantSpec;
import io.llmc.tensor.Shape;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.SequencedMap;
import java.util.stream.Collectors;
import java.util.stream.LongStream;
import java.util.stream.Stream;

/// What the tensors of a sweep's output are called, and how large they are, from headers alone.
final class OutputPlan {
    private final Checkpoint checkpoint;
    private final ModelSpec spec;
    private final List<BlockPass> passes;
    private final WeightLayout layout;
    private final SequencedMap<String, SweepPlan.Module> modules = new LinkedHashMap<>();
    private final SequencedMap<String, List<TensorInfo>> encoded = new LinkedHashMap<>();

    OutputPlan(Checkpoint checkpoint, ModelSpec spec, List<BlockPass> passes, WeightLayout layout) {
        this.checkpoint = checkpoint;
        this.spec = spec;
        this.passes = passes;
        this.layout = layout;
        refuseQuantized();
        for (int i = 0; i < spec.layers().size(); i++) {
            for (String name : linears(spec.layers().get(i))) {
                plan(i, name);
            }
        }
        if (modules.values().stream().allMatch(m -> m.method().isEmpty())) {
            throw new UserException(
                    "the targets select none of the %d linear layers".formatted(modules.size()),
                    "names look like " + modules.firstEntry().getKey());
        }
        refuseConv1d();
    }

    private void refuseQuantized() {
        if (checkpoint.config().quantization().isPresent()) {
            throw new UserException(
                    checkpoint.directory() + " is already quantized",
                    "start from the original model; what rounding lost does not come back");
        }
    }

    /// Readers of compressed-tensors look for Linear modules and would leave GPT-2's Conv1D at
    /// random.
    private void refuseConv1d() {
        if (spec.inOutLinears()
                && layout.name().equals("compressed-tensors")
                && !encoded.isEmpty()) {
            throw new UserException(
                    "no reader of compressed-tensors loads the Conv1D layers of "
                            + spec.modelType(),
                    "pass --layout gptq or --layout dense");
        }
    }

    /// The linear layers of a block that may be compressed, in the order in which they run.
    static List<String> linears(LayerSpec layer) {
        List<String> names = new ArrayList<>(layer.attention().projections());
        names.add(layer.attention().output());
        switch (layer.feedForward()) {
            case LayerSpec.Mlp mlp -> {
                names.addAll(mlp.inputs());
                names.add(mlp.down());
            }
            case LayerSpec.Experts experts -> {
                experts.experts().forEach(e -> names.addAll(e.inputs()));
                experts.experts().forEach(e -> names.add(e.down()));
            }
        }
        return names;
    }

    private void plan(int block, String name) {
        TensorInfo weight = checkpoint.info(name + ".weight");
        if (weight.shape().rank() != 2) {
            throw new UserException(
                    "%s.weight has shape %s, expected a matrix".formatted(name, weight.shape()),
                    "the checkpoint is not what its config.json says");
        }
        long out = weight.shape().dim(spec.inOutLinears() ? 1 : 0);
        long in = weight.shape().dim(spec.inOutLinears() ? 0 : 1);
        List<BlockPass> mine = passes.stream().filter(p -> p.targets().selects(name)).toList();
        Optional<QuantSpec> encoding =
                mine.stream()
                        .map(BlockPass::encoding)
                        .flatMap(Optional::stream)
                        .reduce((_, b) -> b);
        encoding.ifPresent(grid -> requireDivides(name, grid, in));
        List<TensorInfo> tensors =
                encoding.map(grid -> spell(name, out, in, grid, weight.dtype()))
                        .orElse(List.of(weight));
        if (encoding.isPresent()) {
            encoded.put(name, tensors);
        }
        String method = mine.stream().map(BlockPass::name).collect(Collectors.joining("+"));
        long bytes = tensors.stream().mapToLong(TensorInfo::byteSize).sum();
        modules.put(name, new SweepPlan.Module(name, block, out, in, method, encoding, bytes));
    }

    private List<TensorInfo> spell(String name, long out, long in, QuantSpec grid, DType dtype) {
        if (isDense()) {
            return List.of(
                    new TensorInfo(
                            name + ".weight",
                            dtype,
                            spec.inOutLinears() ? new Shape(in, out) : new Shape(out, in)));
        }
        boolean groupIndex = passes.stream().anyMatch(BlockPass::groupIndex);
        return layout.plan(name, out, in, grid, layout.scaleDtype(dtype), groupIndex);
    }

    private static void requireDivides(String name, QuantSpec grid, long in) {
        if (grid.groupSize() == QuantSpec.CHANNEL || in % grid.groupSize() == 0) {
            return;
        }
        String fitting =
                LongStream.of(16, 32, 48, 64, 96, 128, 192, 256, 512)
                        .filter(g -> in % g == 0)
                        .mapToObj(Long::toString)
                        .collect(Collectors.joining(", "));
        throw new UserException(
                "group size %d does not divide the %d inputs of %s"
                        .formatted(grid.groupSize(), in, name),
                "these do: " + (fitting.isEmpty() ? "" : fitting + ", ") + "channel");
    }

    boolean isDense() {
        return layout.name().equals("dense");
    }

    /// Names of a layer's tensors in the output; empty where it stays as it is.
    List<TensorInfo> encoded(String linear) {
        return encoded.getOrDefault(linear, List.of());
    }

    SequencedMap<String, SweepPlan.Module> modules() {
        return modules;
    }

    /// Linear layers that stay dense, the output layer and routers among them.
    List<String> denseLinears() {
        Stream<String> outside = spec.tied() ? Stream.of("lm_head") : Stream.of(spec.head());
        Stream<String> routers =
                spec.layers().stream()
                        .map(LayerSpec::feedForward)
                        .filter(f -> f instanceof LayerSpec.Experts)
                        .map(f -> ((LayerSpec.Experts) f).router());
        Stream<String> unselected =
                modules.keySet().stream().filter(name -> !encoded.containsKey(name));
        return Stream.of(outside, routers, unselected).flatMap(s -> s).toList();
    }

    /// Every tensor of the output in the order of the model's files.
    List<TensorInfo> tensors() {
        List<TensorInfo> all = new ArrayList<>();
        Map<String, String> byWeight =
                encoded.keySet().stream().collect(Collectors.toMap(n -> n + ".weight", n -> n));
        for (String name : checkpoint.names()) {
            String linear = byWeight.get(name);
            if (linear == null) {
                all.add(checkpoint.info(name));
            } else {
                all.addAll(encoded.get(linear));
            }
        }
        return all;
    }
}
