// SPDX-License-Identifier: Apache-2.0
package io.llmc.distill.spec;

import io.llmc.backend.Backend;
import io.llmc.backend.ForwardOp;
import io.llmc.backend.StatisticOp;
import io.llmc.backend.TensorArena;
import io.llmc.model.LayerSpec.LinearSpec;
import io.llmc.model.Linear;
import io.llmc.model.ModelSpec;
import io.llmc.pipeline.Options;
import io.llmc.pipeline.pass.NamePatterns;
import io.llmc.pipeline.pass.Targets;
import io.llmc.tensor.DType;
import io.llmc.tensor.Shape;
import io.llmc.tensor.Tensor;
import io.llmc.tensor.Weight;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.List;
import java.util.stream.Stream;

/// Low-rank adapters that are trained in the place of the weights: LoRA,
/// https://arxiv.org/abs/2106.09685.
///
/// @param rank columns of the two matrices
/// @param alpha what they add is multiplied by `alpha / rank`
/// @param targets linear layers of the blocks that get one
/// @param merges the weights take them up at the end; otherwise they are written on their own
public record Lora(int rank, double alpha, Targets targets, boolean merges) {
    /// What follows a layer's name in the name of a matrix.
    public static final String DOWN = ".lora_A.weight";

    public static final String UP = ".lora_B.weight";

    /// Null where none is asked for.
    static Lora read(Options o) {
        int rank = DistillOptions.LORA.read(o);
        Double alpha = DistillOptions.LORA_ALPHA.read(o);
        boolean adapter = DistillOptions.ADAPTER.read(o);
        if (adapter && rank == 0) {
            throw o.error("adapter", "an adapter is what lora trains; set lora to its rank");
        }
        for (String key : List.of("loraAlpha", "loraTargets")) {
            if (rank == 0 && o.has(key)) {
                throw o.error(key, key + " would change nothing: lora is not given");
            }
        }
        return rank == 0
                ? null
                : new Lora(rank, alpha == null ? 2.0 * rank : alpha, targets(o), !adapter);
    }

    private static Targets targets(Options o) {
        NamePatterns.read(o, "loraTargets");
        return Targets.of("{loraTargets}", DistillOptions.LORA_TARGETS.read(o));
    }

    /// The linear layers of a model that get one.
    public Stream<LinearSpec> layers(ModelSpec model) {
        return model.layers().stream()
                .flatMap(layer -> layer.linears(model.hidden()).stream())
                .filter(l -> targets.selects(l.name()));
    }

    /// One for a weight. Down random, up zero: at first it adds nothing.
    public Linear.Adapter adapter(Weight weight, long seed, TensorArena arena, Backend backend) {
        Tensor down = arena.allocate(DType.F32, new Shape(rank, weight.inFeatures()));
        Tensor up = arena.allocate(DType.F32, new Shape(weight.outFeatures(), rank));
        backend.run(new ForwardOp.Zero(up));
        Values.randomize(down, seed, backend);
        return new Linear.Adapter(down, up, scale());
    }

    /// Of an arena, for the adapters of layers whose names begin so.
    public long bytes(ModelSpec model, String prefix, DistillSpec.Algorithm algorithm) {
        return layers(model)
                .filter(l -> l.name().startsWith(prefix))
                .flatMap(l -> Stream.of(l.in(), l.out()))
                .mapToLong(width -> (long) rank * width)
                .map(size -> Parameter.bytes(size, algorithm) + 4 * size + AdamState.ALIGN)
                .sum();
    }

    /// A weight with what its adapter adds, F32 in host memory.
    ///
    /// All in host memory.
    ///
    /// @param w `[out, in]`
    public Tensor merged(Tensor w, Tensor down, Tensor up, Backend backend, Arena memory) {
        try (TensorArena scratch =
                backend.newArena(
                        mergingBytes(w.shape().size(), down.shape().size() + up.shape().size()))) {
            Tensor turnedDown = scratch.allocate(DType.F32, new Shape(down.cols(), down.rows()));
            Tensor added = scratch.allocate(DType.F32, w.shape());
            Tensor base = scratch.allocate(DType.F32, w.shape());
            Tensor sum = scratch.allocate(DType.F32, w.shape());
            backend.run(new StatisticOp.Transpose(turnedDown, backend.adopt(down, scratch)));
            backend.run(
                    new ForwardOp.Matmul(
                            added, backend.adopt(up, scratch), new Weight.Dense(turnedDown)));
            backend.run(new ForwardOp.Scale(base, backend.adopt(w, scratch), 1));
            backend.run(new ForwardOp.Add(sum, base, added, scale()));
            MemorySegment host = memory.allocate(sum.byteSize(), 64);
            backend.download(host, sum);
            return Tensor.of(host, DType.F32, sum.shape().dims());
        }
    }

    /// Bytes of the arena that [#merged] works in.
    ///
    /// @param size values of the weight
    /// @param factors values of the adapter's matrices
    public static long mergingBytes(long size, long factors) {
        return 16 * size + 8 * factors + 8192;
    }

    public float scale() {
        return (float) (alpha / rank);
    }
}
