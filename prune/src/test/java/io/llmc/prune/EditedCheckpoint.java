// SPDX-License-Identifier: Apache-2.0
package io.llmc.prune;

import io.llmc.formats.HfConfig;
import io.llmc.formats.TensorInfo;
import io.llmc.formats.checkpoint.Checkpoint;
import io.llmc.formats.checkpoint.TensorReader;
import io.llmc.formats.safetensors.CheckpointWriter;
import io.llmc.tensor.DType;
import io.llmc.tensor.Tensor;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.SequencedMap;
import java.util.function.UnaryOperator;

/// A checkpoint with some of its tensors, and numbers of its config, changed.
public final class EditedCheckpoint {
    private EditedCheckpoint() {}

    /// Bytes of the rows of one tensor.
    @FunctionalInterface
    public interface Edit {
        Edit NONE = (_, rows) -> rows;

        byte[][] apply(String name, byte[][] rows);
    }

    /// @return `target`, with a tokenizer
    public static Path write(Path source, Path target, Edit edit, Map<String, Integer> config)
            throws IOException {
        return write(source, target, edit, config, null, name -> name);
    }

    /// With every tensor in F32, so that no rounding hides anything.
    public static Path writeF32(Path source, Path target, Edit edit) throws IOException {
        return write(source, target, edit, Map.of(), DType.F32, name -> name);
    }

    /// With other names.
    public static Path renamed(Path source, Path target, UnaryOperator<String> names)
            throws IOException {
        return write(source, target, Edit.NONE, Map.of(), null, names);
    }

    /// @param dtype of all tensors, converted before they are edited; null to leave them as they
    ///   are
    private static Path write(
            Path source,
            Path target,
            Edit edit,
            Map<String, Integer> config,
            DType dtype,
            UnaryOperator<String> names)
            throws IOException {
        try (Checkpoint c = Checkpoint.open(source);
                TensorReader reader = c.reader();
                Arena memory = Arena.ofConfined()) {
            SequencedMap<TensorInfo, Tensor> edited = new LinkedHashMap<>();
            for (String name : c.names()) {
                Tensor stored = reader.tensor(name);
                Tensor t =
                        edited(
                                name,
                                dtype == DType.F32 ? floats(stored, memory) : stored,
                                edit,
                                memory);
                edited.put(TensorInfo.of(names.apply(name), t.dtype(), t.shape().dims()), t);
            }
            try (CheckpointWriter writer =
                    CheckpointWriter.create(
                            target, edited.keySet().stream().toList(), 1 << 30, false)) {
                edited.forEach((info, t) -> writer.write(info.name(), t));
                writer.finish();
            }
            HfConfig changed = c.config();
            for (Map.Entry<String, Integer> e : config.entrySet()) {
                changed = changed.with(e.getKey(), e.getValue());
            }
            changed.write(target.resolve("config.json"));
            WordTokenizer.write(target, words(c));
        }
        return target;
    }

    private static Tensor floats(Tensor t, Arena memory) {
        double[][] values = HostModel.matrix(t);
        MemorySegment all = memory.allocate(4 * t.shape().size(), 64);
        for (int r = 0; r < values.length; r++) {
            for (int i = 0; i < values[r].length; i++) {
                all.setAtIndex(
                        ValueLayout.JAVA_FLOAT,
                        (long) r * values[r].length + i,
                        (float) values[r][i]);
            }
        }
        return Tensor.of(all, DType.F32, t.shape().dims());
    }

    private static Tensor edited(String name, Tensor t, Edit edit, Arena memory) {
        if (t.shape().rank() == 0) {
            return t; // a number beside the weights has no rows
        }
        byte[][] rows = edit.apply(name, rows(t));
        MemorySegment all = memory.allocate((long) rows.length * rows[0].length, 64);
        for (int r = 0; r < rows.length; r++) {
            MemorySegment.copy(
                    rows[r],
                    0,
                    all,
                    ValueLayout.JAVA_BYTE,
                    (long) r * rows[r].length,
                    rows[r].length);
        }
        long[] dims = t.shape().dims();
        dims[0] = rows.length;
        return Tensor.of(all, t.dtype(), dims);
    }

    static byte[][] rows(Tensor t) {
        int row = (int) (t.byteSize() / t.rows());
        byte[][] rows = new byte[(int) t.rows()][];
        for (int r = 0; r < rows.length; r++) {
            rows[r] = t.bytes().asSlice((long) r * row, row).toArray(ValueLayout.JAVA_BYTE);
        }
        return rows;
    }

    /// Zeros in every tensor of such a name.
    public static Edit silence(String part) {
        return (name, rows) -> name.contains(part) ? map(rows, row -> new byte[row.length]) : rows;
    }

    public static byte[][] map(byte[][] rows, UnaryOperator<byte[]> row) {
        return java.util.Arrays.stream(rows).map(row).toArray(byte[][]::new);
    }

    static int words(Checkpoint c) {
        return c.config().integer("vocab_size");
    }

    static int words(Path model) {
        try (Checkpoint c = Checkpoint.open(model)) {
            return words(c);
        }
    }

    /// Every tensor's bytes by its name.
    public static Map<String, byte[]> bytes(Path model) {
        Map<String, byte[]> all = new LinkedHashMap<>();
        try (Checkpoint c = Checkpoint.open(model);
                TensorReader reader = c.reader()) {
            for (String name : c.names()) {
                all.put(name, reader.tensor(name).bytes().toArray(ValueLayout.JAVA_BYTE));
            }
        }
        return all;
    }

    public static Path withTokenizer(Path source, Path target) throws IOException {
        Files.createDirectories(target);
        return write(source, target, Edit.NONE, Map.of());
    }
}
