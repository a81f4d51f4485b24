// SPDX-License-Identifier: Apache-2.0
package io.llmc.model.arch;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import io.llmc.backend.Backend;
import io.llmc.backend.TensorArena;
import io.llmc.formats.TensorInfo;
import io.llmc.formats.TestFiles;
import io.llmc.formats.checkpoint.Checkpoint;
import io.llmc.formats.checkpoint.TensorReader;
import io.llmc.formats.safetensors.CheckpointWriter;
import io.llmc.model.Forward;
import io.llmc.model.language.LanguageModel;
import io.llmc.pipeline.pass.HiddenStates;
import io.llmc.tensor.DType;
import io.llmc.tensor.Shape;
import io.llmc.tensor.Tensor;
import io.llmc.tokenizer.Windows;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Set;

/// One of testdata's tiny models, changed.
record Tiny(String name) {
    static final ObjectMapper JSON = new ObjectMapper();

    Path source() {
        return TestFiles.testdata().resolve(name);
    }

    ObjectNode config() throws IOException {
        return (ObjectNode) JSON.readTree(source().resolve("config.json").toFile());
    }

    /// Writes the model with another config, more tensors and without some.
    ///
    /// @param more shapes by name; their values are those of `config_values.py`
    Path write(Path directory, JsonNode config, Map<String, long[]> more, Set<String> without)
            throws IOException {
        Files.createDirectories(directory);
        Files.writeString(directory.resolve("config.json"), JSON.writeValueAsString(config));
        try (Checkpoint c = Checkpoint.open(source());
                TensorReader reader = c.reader();
                Arena arena = Arena.ofConfined()) {
            List<TensorInfo> plan = new ArrayList<>();
            c.names().stream()
                    .filter(n -> !without.contains(n) && !more.containsKey(n))
                    .map(c::info)
                    .forEach(plan::add);
            DType dtype = plan.getFirst().dtype();
            more.forEach((n, dims) -> plan.add(TensorInfo.of(n, dtype, dims)));
            try (CheckpointWriter writer =
                    CheckpointWriter.create(directory, plan, Long.MAX_VALUE, false)) {
                for (TensorInfo info : plan) {
                    writer.write(
                            info.name(),
                            more.containsKey(info.name())
                                    ? ramp(info, arena)
                                    : reader.tensor(info.name()));
                }
                writer.finish();
            }
        }
        return directory;
    }

    private static Tensor ramp(TensorInfo info, Arena arena) {
        MemorySegment bytes = arena.allocate(info.byteSize(), 64);
        for (long i = 0; i < info.shape().size(); i++) {
            float value = (i * 7 % 13 - 6) / 16f;
            if (info.dtype() == DType.F32) {
                bytes.setAtIndex(ValueLayout.JAVA_FLOAT, i, value);
            } else {
                int bits = Float.floatToRawIntBits(value);
                bytes.setAtIndex(ValueLayout.JAVA_SHORT, i, (short) (bits >>> 16)); // BF16
            }
        }
        return Tensor.of(bytes, info.dtype(), info.shape().dims());
    }

    /// The first golden sequence.
    int[] ids() {
        try (Checkpoint c = Checkpoint.ofFile(source().resolve("golden.safetensors"));
                TensorReader reader = c.reader()) {
            Tensor ids = reader.tensor("input_ids");
            int[] values = new int[(int) ids.cols()];
            for (int i = 0; i < values.length; i++) {
                values[i] = (int) ids.bytes().get(ValueLayout.JAVA_LONG_UNALIGNED, 8L * i);
            }
            return values;
        }
    }

    /// Logits of the last of these ids.
    static float[] lastLogits(Checkpoint c, int[] ids, Backend backend) {
        try (LanguageModel model = new LanguageModel(c, Architectures.specOf(c), backend);
                HiddenStates states = new HiddenStates(model, Windows.of(ids, ids.length), null);
                TensorArena arena = backend.newArena(1 << 20)) {
            states.embed();
            for (int i = 0; i < model.spec().layers().size(); i++) {
                states.advance(i);
            }
            float[][] last = new float[1][];
            states.forEach((x, _) -> {
                Tensor row = x.rows(ids.length - 1, ids.length);
                Forward f = new Forward(backend, arena, states.positions());
                Tensor normed = arena.allocate(DType.F32, row.shape());
                Tensor logits = arena.allocate(DType.F32, new Shape(1, model.spec().vocabulary()));
                model.finalNorm(f, normed, row);
                model.logits(f, logits, normed);
                try (Arena host = Arena.ofConfined()) {
                    MemorySegment copy = host.allocate(logits.byteSize(), 8);
                    backend.download(copy, logits);
                    last[0] = copy.toArray(ValueLayout.JAVA_FLOAT);
                }
            });
            return last[0];
        }
    }
}
