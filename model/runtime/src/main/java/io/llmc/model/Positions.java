// SPDX-License-Identifier: Apache-2.0
package io.llmc.model;

import io.llmc.backend.Backend;
import io.llmc.backend.TensorArena;
import io.llmc.model.structure.RopeSpec;
import io.llmc.model.structure.RopeTable;
import io.llmc.tensor.DType;
import io.llmc.tensor.Shape;
import io.llmc.tensor.Tensor;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.stream.IntStream;

/// Where the rows of a pass stand in their sequences, and the rotary tables for them: at `0 ..
/// length-1` of every sequence, or, in decoding, behind what is there already.
public final class Positions {
    private final int length;
    private final Map<RopeSpec, Tensor> tables;

    /// Null where it is the row in its sequence.
    private final int[] positions;

    private Positions(int length, Map<RopeSpec, Tensor> tables, int[] positions) {
        this.length = length;
        this.tables = tables;
        this.positions = positions;
    }

    /// Rows of one sequence that go on behind others.
    ///
    /// @param first position of the first row
    public record Run(int first, int count) {
        int end() {
            return first + count;
        }
    }

    /// The rows of several sequences, one after another. Where angles depend on how long a sequence
    /// is, they follow from what each reaches in this pass, and keys of earlier ones stay as they
    /// were turned then, as in transformers.
    ///
    /// @param ropes of all layers, as [ModelSpec#ropes] has them
    /// @param arena holds the tables; must outlive the pass
    public static Positions of(
            List<RopeSpec> ropes, List<Run> runs, Backend backend, TensorArena arena) {
        int rows = runs.stream().mapToInt(Run::count).sum();
        int[] positions =
                runs.stream().flatMapToInt(r -> IntStream.range(r.first(), r.end())).toArray();
        Map<RopeSpec, Tensor> tables = new LinkedHashMap<>();
        for (RopeSpec rope : ropes) {
            float[] all = new float[rows * rope.rotated()];
            int at = 0;
            for (Run run : runs) {
                float[] some = RopeTable.compute(rope, run.first(), run.end(), run.end());
                System.arraycopy(some, 0, all, at, some.length);
                at += some.length;
            }
            tables.put(rope, upload(all, rows, backend, arena));
        }
        return new Positions(rows, tables, positions);
    }

    /// Computes the tables of every layer once.
    ///
    /// @param arena holds the tables; must outlive the passes
    public static Positions of(ModelSpec spec, int length, Backend backend, TensorArena arena) {
        return of(spec.layers(), length, backend, arena);
    }

    /// As [#of(ModelSpec, int, Backend, TensorArena)], for one layer.
    public static Positions of(LayerSpec layer, int length, Backend backend, TensorArena arena) {
        return of(List.of(layer), length, backend, arena);
    }

    private static Positions of(
            List<LayerSpec> layers, int length, Backend backend, TensorArena arena) {
        Map<RopeSpec, Tensor> tables = new LinkedHashMap<>();
        for (LayerSpec layer : layers) {
            layer.ropes()
                    .forEach(rope ->
                            tables.computeIfAbsent(
                                    rope,
                                    r ->
                                            upload(
                                                    RopeTable.compute(r, length),
                                                    length,
                                                    backend,
                                                    arena)));
        }
        return new Positions(length, tables, null);
    }

    private static Tensor upload(float[] values, int length, Backend backend, TensorArena arena) {
        Tensor table = arena.allocate(DType.F32, new Shape(length, values.length / length));
        try (Arena host = Arena.ofConfined()) {
            MemorySegment copy = host.allocateFrom(ValueLayout.JAVA_FLOAT, values);
            backend.upload(table, copy);
        }
        return table;
    }

    /// Bytes that [#of] needs of its arena.
    public static long bytes(ModelSpec spec, int length) {
        return spec.ropes().stream().mapToLong(rope -> 4L * length * rope.rotated() + 256).sum();
    }

    /// Rows of one sequence, or of the pass where they go on behind others.
    public int length() {
        return length;
    }

    /// Where a row of the pass stands in its sequence.
    public int of(int row) {
        return positions == null ? row % length : positions[row];
    }

    /// F32 `[length, rotated]`: cosines, then sines.
    Tensor table(RopeSpec rope) {
        return tables.get(rope);
    }
}
