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

/// The positions `0 .. length-1` of every sequence of a pass, and the rotary tables for them.
public final class Positions {
    private final int length;
    private final Map<RopeSpec, Tensor> tables;

    private Positions(int length, Map<RopeSpec, Tensor> tables) {
        this.length = length;
        this.tables = tables;
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
        return new Positions(length, tables);
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
        return spec.layers().stream()
                .flatMap(LayerSpec::ropes)
                .distinct()
                .mapToLong(rope -> 4L * length * rope.rotated() + 256)
                .sum();
    }

    /// Rows of one sequence.
    public int length() {
        return length;
    }

    /// F32 `[length, rotated]`: cosines, then sines.
    Tensor table(RopeSpec rope) {
        return tables.get(rope);
    }
}
