// SPDX-License-Identifier: Apache-2.0
package io.llmc.formats;

import io.llmc.tensor.Shape;
import java.lang.foreign.MemorySegment;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;

/// Layers of all experts of a block that files have as one tensor, expert after expert: `[experts,
/// out, in]` or, with inputs first, `[experts, in, out]`; biases `[experts, out]`. The outputs may
/// be those of several layers, one layer after the other or in turn.
///
/// Everything behind the files sees a matrix `[out, in]` for each layer of each expert, under a
/// name of its own.
///
/// @param name of the tensor
/// @param experts what the layers' names begin with, before the number of the expert
/// @param layers whose outputs it has
/// @param leaf behind a layer's name
/// @param interleaved outputs of the layers take turns
public record ExpertStack(
        String name,
        String experts,
        List<String> layers,
        String leaf,
        boolean inputsFirst,
        boolean interleaved) {
    private static final String FUSED = ".experts.gate_up_proj";
    private static final String DOWN = ".experts.down_proj";
    private static final String BIAS = "_bias";
    private static final List<String> GATE_UP = List.of("gate_proj", "up_proj");
    private static final String GRANITE = ".block_sparse_moe.input_linear.weight";
    private static final String GRANITE_DOWN = ".block_sparse_moe.output_linear.weight";

    /// Models whose gates and ups take turns.
    private static final Set<String> IN_TURN = Set.of("gpt_oss");

    /// A layer of one expert.
    public record Part(ExpertStack stack, int expert, int layer) {
        public String name() {
            return stack.part(expert, layer);
        }
    }

    /// Those among the tensors of a model, as their shapes tell.
    public static List<ExpertStack> of(String modelType, Map<String, TensorInfo> tensors) {
        List<ExpertStack> all = new ArrayList<>();
        boolean inTurn = IN_TURN.contains(modelType);
        for (TensorInfo t : tensors.values()) {
            String name = t.name();
            if (name.endsWith(FUSED)) {
                String block = name.substring(0, name.length() - FUSED.length());
                String experts = block + ".experts.";
                pair(t, tensors.get(block + DOWN), experts, GATE_UP, "down_proj", ".weight", inTurn)
                        .ifPresent(all::addAll);
            } else if (name.endsWith(GRANITE)) {
                String block = name.substring(0, name.length() - GRANITE.length());
                String experts = block + ".block_sparse_moe.experts.";
                TensorInfo down = tensors.get(block + GRANITE_DOWN);
                pair(t, down, experts, List.of("w1", "w3"), "w2", ".weight", false)
                        .ifPresent(all::addAll);
            } else if (isBias(name, FUSED, t, tensors)) {
                all.add(bias(t, FUSED, GATE_UP, inTurn));
            } else if (isBias(name, DOWN, t, tensors)) {
                all.add(bias(t, DOWN, List.of("down_proj"), false));
            }
        }
        return all;
    }

    private static boolean isBias(
            String name, String layer, TensorInfo t, Map<String, TensorInfo> tensors) {
        String plain = name.substring(0, Math.max(0, name.length() - BIAS.length()));
        TensorInfo weight = tensors.get(plain);
        return name.endsWith(layer + BIAS)
                && t.shape().rank() == 2
                && (weight != null && weight.shape().rank() == 3
                        || tensors.containsKey(plain + Mxfp4Stack.BLOCKS));
    }

    /// Those whose plain values would have a tensor of this name, without its end, where
    /// transformers has inputs first and outputs in turn; empty where it is no such name.
    static Optional<ExpertStack> ofName(String tensor, String end) {
        if (!tensor.endsWith(end)) {
            return Optional.empty();
        }
        String name = tensor.substring(0, tensor.length() - end.length());
        boolean fused = name.endsWith(FUSED);
        if (!fused && !name.endsWith(DOWN)) {
            return Optional.empty();
        }
        String block = name.substring(0, name.length() - (fused ? FUSED : DOWN).length());
        List<String> layers = fused ? GATE_UP : List.of("down_proj");
        return Optional.of(
                new ExpertStack(name, block + ".experts.", layers, ".weight", true, fused));
    }

    private static ExpertStack bias(
            TensorInfo t, String layer, List<String> layers, boolean inTurn) {
        String block = t.name().substring(0, t.name().length() - (layer + BIAS).length());
        return new ExpertStack(t.name(), block + ".experts.", layers, ".bias", false, inTurn);
    }

    /// Empty where their shapes are no experts'.
    private static Optional<List<ExpertStack>> pair(
            TensorInfo fused,
            TensorInfo down,
            String experts,
            List<String> inputs,
            String output,
            String leaf,
            boolean inTurn) {
        if (down == null || fused.shape().rank() != 3 || down.shape().rank() != 3) {
            return Optional.empty();
        }
        long[] f = fused.shape().dims();
        long[] d = down.shape().dims();
        boolean outputsFirst = f[1] == 2 * d[2] && f[2] == d[1];
        boolean inputsFirst = f[1] == d[2] && f[2] == 2 * d[1];
        if (f[0] != d[0] || !outputsFirst && !inputsFirst || !fused.dtype().isFloat()) {
            return Optional.empty();
        }
        return Optional.of(
                List.of(
                        new ExpertStack(fused.name(), experts, inputs, leaf, inputsFirst, inTurn),
                        new ExpertStack(
                                down.name(), experts, List.of(output), leaf, inputsFirst, false)));
    }

    String part(int expert, int layer) {
        return experts + expert + "." + layers.get(layer) + leaf;
    }

    /// Those of a tensor of so many experts, in order.
    public List<Part> parts(long count) {
        List<Part> parts = new ArrayList<>();
        for (int e = 0; e < count; e++) {
            for (int l = 0; l < layers.size(); l++) {
                parts.add(new Part(this, e, l));
            }
        }
        return parts;
    }

    /// What a part of a tensor is.
    public TensorInfo info(Part part, TensorInfo whole) {
        long[] dims = whole.shape().dims();
        if (dims.length == 2) {
            return TensorInfo.of(part.name(), whole.dtype(), dims[1] / layers.size());
        }
        long out = (inputsFirst ? dims[2] : dims[1]) / layers.size();
        return TensorInfo.of(part.name(), whole.dtype(), out, inputsFirst ? dims[1] : dims[2]);
    }

    /// The tensor that parts like this one make.
    ///
    /// @param count of experts
    public TensorInfo whole(TensorInfo part, long count) {
        long out = part.shape().dim(0) * layers.size();
        if (part.shape().rank() == 1) {
            return new TensorInfo(name, part.dtype(), new Shape(count, out));
        }
        long in = part.shape().dim(1);
        Shape shape = inputsFirst ? new Shape(count, in, out) : new Shape(count, out, in);
        return new TensorInfo(name, part.dtype(), shape);
    }

    /// Whether the bytes of a part lie side by side, as [#place] says.
    public boolean isContiguous() {
        return !inputsFirst && !interleaved;
    }

    /// Where a part begins among those of its expert, where it lies side by side.
    ///
    /// @param part as [#info] has it
    public long place(Part of, TensorInfo part) {
        return of.layer() * part.byteSize();
    }

    /// Bytes of one expert.
    public long expertBytes(TensorInfo part) {
        return layers.size() * part.byteSize();
    }

    /// Takes a part out of the bytes of its expert.
    public void gather(Part of, TensorInfo part, MemorySegment out, MemorySegment expert) {
        copy(of, part, expert, out, true);
    }

    /// Puts a part into the bytes of its expert.
    public void scatter(Part of, TensorInfo part, MemorySegment expert, MemorySegment in) {
        copy(of, part, expert, in, false);
    }

    private void copy(
            Part of, TensorInfo info, MemorySegment expert, MemorySegment part, boolean out) {
        long rows = info.shape().dim(0);
        long cols = info.shape().rank() == 1 ? 1 : info.shape().dim(1);
        long first = interleaved ? of.layer() : of.layer() * rows;
        long step = interleaved ? layers.size() : 1;
        long between = inputsFirst ? 1 : cols;
        Strided there =
                new Strided(
                        expert,
                        first * between,
                        step * between,
                        inputsFirst ? layers.size() * rows : 1);
        Strided here = new Strided(part, 0, cols, 1);
        if (out) {
            here.copy(there, rows, cols, info.dtype().bits() / 8);
        } else {
            there.copy(here, rows, cols, info.dtype().bits() / 8);
        }
    }
}
