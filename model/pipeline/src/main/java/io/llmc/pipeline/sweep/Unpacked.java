// SPDX-License-Identifier: Apache-2.0
package io.llmc.pipeline.sweep;

import com.google.errorprone.annotations.MustBeClosed;
import io.llmc.backend.Backend;
import io.llmc.backend.CompressionOp;
import io.llmc.backend.TensorArena;
import io.llmc.model.Linear;
import io.llmc.model.Stage;
import io.llmc.pipeline.pass.HiddenStates;
import io.llmc.tensor.DType;
import io.llmc.tensor.Shape;
import io.llmc.tensor.Tensor;
import io.llmc.tensor.Weight;
import java.util.IdentityHashMap;
import java.util.List;
import java.util.Map;

/// The packed weights of stages as plain values while all sequences go through them, where the
/// device multiplies those faster: unpacked once instead of with every chunk.
///
/// Experts stay packed: there are many of them, and each sees few rows.
final class Unpacked implements AutoCloseable {
    private final Map<Linear, Weight> packed = new IdentityHashMap<>();

    /// Null where nothing is unpacked.
    private final TensorArena arena;

    /// Moves all sequences through stages.
    static void advance(HiddenStates states, List<Stage> stages, Backend backend) {
        try (Unpacked _ = new Unpacked(stages, backend)) {
            states.advance(stages);
        }
    }

    @MustBeClosed
    @SuppressWarnings("MustBeClosed") // closed by close()
    Unpacked(List<Stage> stages, Backend backend) {
        List<Linear> layers =
                stages.stream()
                        .filter(stage -> !stage.routed())
                        .flatMap(stage -> stage.linears().stream())
                        .filter(l -> !l.multipliesIntegers(backend))
                        .filter(l -> backend.unpacks(l.weight()))
                        .toList();
        arena = layers.isEmpty() ? null : backend.newArena(bytes(layers));
        for (Linear layer : layers) {
            Weight w = layer.weight();
            Tensor values = arena.allocate(DType.F32, new Shape(w.outFeatures(), w.inFeatures()));
            backend.run(new CompressionOp.Dequantize(values, w));
            packed.put(layer, w);
            layer.replace(new Weight.Dense(values));
        }
    }

    /// Bytes for all layers of a block, at most.
    static long blockBytes(List<Stage> stages) {
        return stages.stream()
                .filter(stage -> !stage.routed())
                .mapToLong(stage -> bytes(stage.linears()))
                .sum();
    }

    private static long bytes(List<Linear> layers) {
        return layers.stream()
                .map(Linear::weight)
                .mapToLong(w -> 4 * w.outFeatures() * w.inFeatures() + 256)
                .sum();
    }

    @Override
    public void close() {
        packed.forEach(Linear::replace);
        if (arena != null) {
            arena.close();
        }
    }
}
