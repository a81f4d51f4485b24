// SPDX-License-Identifier: Apache-2.0
package io.llmc.distill;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import io.llmc.backend.Backend;
import io.llmc.backend.BackendOptions;
import io.llmc.backend.TensorArena;
import io.llmc.backend.cpu.CpuBackend;
import io.llmc.distill.teacher.TeacherMemory;
import io.llmc.formats.HfConfig;
import io.llmc.formats.Solver;
import io.llmc.formats.checkpoint.Checkpoint;
import io.llmc.formats.checkpoint.Layouts;
import io.llmc.formats.checkpoint.QuantPlan;
import io.llmc.formats.checkpoint.TensorReader;
import io.llmc.formats.checkpoint.WeightLayout;
import io.llmc.formats.safetensors.CheckpointWriter;
import io.llmc.model.LayerSpec.LinearSpec;
import io.llmc.model.ModelSpec;
import io.llmc.model.arch.Architectures;
import io.llmc.model.language.Head;
import io.llmc.model.language.ResidentModel;
import io.llmc.tensor.Codes;
import io.llmc.tensor.DType;
import io.llmc.tensor.Encoding;
import io.llmc.tensor.Floats;
import io.llmc.tensor.Scheme;
import io.llmc.tensor.Schemes;
import io.llmc.tensor.Shape;
import io.llmc.tensor.Tensor;
import io.llmc.tensor.Weight;
import io.llmc.tokenizer.Windows;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.SequencedMap;
import java.util.function.BiFunction;

/// Models made of others, in plain arithmetic.
final class Models {
    private static final int GROUP = 64;

    private Models() {}

    /// A copy in F32, each tensor's values as a function makes them.
    static void rewrite(Path source, Path target, BiFunction<String, double[], double[]> change)
            throws IOException {
        try (Checkpoint c = Checkpoint.open(source);
                TensorReader reader = c.reader();
                Arena memory = Arena.ofShared()) {
            SequencedMap<String, Tensor> made = new LinkedHashMap<>();
            for (String name : c.names()) {
                Tensor t = reader.tensor(name);
                double[] values = change.apply(name, values(t));
                made.put(name, f32(values, t.shape(), memory));
            }
            write(c, c.config(), made, target);
        }
    }

    /// Rounded to 4 bits in groups of 64, each with its greatest magnitude at the end of the grid.
    static void pack(Path source, Path target, String layoutName) throws IOException {
        WeightLayout layout = Layouts.named(layoutName);
        Encoding.Grid<Codes.Ints> quant = Encoding.ints(4, GROUP, true);
        try (Checkpoint c = Checkpoint.open(source);
                TensorReader reader = c.reader();
                Arena memory = Arena.ofShared()) {
            ModelSpec spec = Architectures.specOf(c);
            SequencedMap<String, Tensor> made = new LinkedHashMap<>();
            SequencedMap<String, Scheme> schemes = new LinkedHashMap<>();
            c.names().forEach(name -> made.put(name, reader.tensor(name)));
            for (var layer : spec.layers()) {
                for (LinearSpec l : layer.linears(spec.hidden())) {
                    Tensor w = made.remove(l.name() + ".weight");
                    Weight packed =
                            packed(w, quant, layout.grid(quant, w.dtype()).scaleType(), memory);
                    schemes.put(l.name(), Scheme.of(quant));
                    made.putAll(layout.encode(l.name(), packed, memory));
                }
            }
            Solver rtn = new Solver("rtn", 0, Solver.Order.STORED, false, false);
            QuantPlan plan =
                    new QuantPlan(
                            new Schemes(schemes, Optional.empty()),
                            List.of(new QuantPlan.Solved(rtn, schemes.keySet())),
                            List.of("lm_head"),
                            spec.modelType(),
                            false);
            HfConfig config =
                    c.config()
                            .with(
                                    "quantization_config",
                                    layout.quantizationConfig(plan, "test").orElseThrow());
            write(c, config, made, target);
        }
    }

    private static Weight packed(
            Tensor w, Encoding.Grid<Codes.Ints> quant, DType scaleType, Arena memory) {
        long groups = w.cols() / GROUP;
        MemorySegment codes = memory.allocate(w.rows() * w.cols() / 2, 64);
        MemorySegment scales = memory.allocate(w.rows() * groups * scaleType.bytes(), 64);
        MemorySegment zeros = memory.allocate(w.rows() * groups, 64).fill((byte) 8);
        double[] values = values(w);
        for (int g = 0; g < w.rows() * groups; g++) {
            double most = 1e-6;
            for (int i = g * GROUP; i < (g + 1) * GROUP; i++) {
                most = Math.max(most, Math.abs(values[i]));
            }
            Floats.set(scales, scaleType, g, (float) (most / 7));
            double scale = Floats.get(scales, scaleType, g);
            for (int i = g * GROUP; i < (g + 1) * GROUP; i++) {
                int q = (int) Math.clamp(Math.rint(values[i] / scale) + 8, 0, 15);
                byte old = codes.get(ValueLayout.JAVA_BYTE, i / 2);
                codes.set(ValueLayout.JAVA_BYTE, i / 2, (byte) (old | q << 4 * (i % 2)));
            }
        }
        return new Weight.Grouped(
                quant,
                w.cols(),
                Tensor.of(codes, DType.I32, w.rows(), w.cols() / 8),
                Tensor.of(scales, scaleType, w.rows(), groups),
                Tensor.of(zeros, DType.U8, w.rows(), groups),
                null);
    }

    private static void write(
            Checkpoint source, HfConfig config, SequencedMap<String, Tensor> tensors, Path target)
            throws IOException {
        Files.createDirectories(target);
        var plan =
                tensors.entrySet().stream()
                        .map(e ->
                                new io.llmc.formats.TensorInfo(
                                        e.getKey(), e.getValue().dtype(), e.getValue().shape()))
                        .toList();
        try (CheckpointWriter writer = CheckpointWriter.create(target, plan, 1L << 30, false)) {
            tensors.forEach(writer::write);
            writer.finish();
        }
        config.write(target.resolve("config.json"));
        for (Path file : source.sideFiles()) {
            Files.copy(file, target.resolve(file.getFileName()));
        }
    }

    static double[] values(Tensor t) {
        double[] values = new double[(int) t.shape().size()];
        for (int i = 0; i < values.length; i++) {
            values[i] = Floats.get(t.bytes(), t.dtype(), i);
        }
        return values;
    }

    private static Tensor f32(double[] values, Shape shape, Arena memory) {
        MemorySegment to = memory.allocate(4L * values.length, 64);
        for (int i = 0; i < values.length; i++) {
            to.setAtIndex(ValueLayout.JAVA_FLOAT, i, (float) values[i]);
        }
        return Tensor.of(to, DType.F32, shape.dims());
    }

    /// Logits of some made-up tokens.
    static float[] logits(Path model) {
        int length = 32;
        try (Checkpoint c = Checkpoint.open(model);
                Backend backend = new CpuBackend(new BackendOptions(2, BackendOptions.Math.AUTO));
                ResidentModel teacher =
                        new ResidentModel(c, Architectures.specOf(c), backend, length)) {
            int vocabulary = teacher.model().spec().vocabulary();
            int[] ids = new int[length];
            for (int i = 0; i < length; i++) {
                ids[i] = (7 + 31 * i) % vocabulary;
            }
            long size = (long) length * vocabulary;
            try (TensorArena memory =
                            backend.newArena(
                                    TeacherMemory.pass(c, length, length) + 16 * size + 65536);
                    Arena host = Arena.ofConfined()) {
                Tensor normed =
                        teacher.normed(
                                Windows.of(ids, length).ids(), memory, ResidentModel.Listener.NONE);
                Tensor logits = new Head(teacher.model()).logits(normed, vocabulary, memory);
                MemorySegment copy = host.allocate(logits.byteSize(), 8);
                backend.download(copy, logits);
                return copy.toArray(ValueLayout.JAVA_FLOAT);
            }
        }
    }

    /// A matrix of a file.
    record Matrix(int rows, int cols, float[] values) {}

    /// Reads F32 matrices by the description of the format alone.
    static Map<String, Matrix> matrices(Path file) throws IOException {
        ByteBuffer bytes = ByteBuffer.wrap(Files.readAllBytes(file)).order(ByteOrder.LITTLE_ENDIAN);
        int header = (int) bytes.getLong(0);
        JsonNode json = new ObjectMapper().readTree(bytes.array(), 8, header);
        Map<String, Matrix> matrices = new LinkedHashMap<>();
        json.properties().stream()
                .filter(e -> !e.getKey().equals("__metadata__"))
                .forEach(e -> {
                    if (!e.getValue().path("dtype").asText().equals("F32")) {
                        throw new AssertionError(e);
                    }
                    int rows = e.getValue().path("shape").get(0).asInt();
                    int cols = e.getValue().path("shape").get(1).asInt();
                    int from = 8 + header + e.getValue().path("data_offsets").get(0).asInt();
                    float[] values = new float[rows * cols];
                    bytes.slice(from, 4 * values.length)
                            .order(ByteOrder.LITTLE_ENDIAN)
                            .asFloatBuffer()
                            .get(values);
                    matrices.put(e.getKey(), new Matrix(rows, cols, values));
                });
        return matrices;
    }

    /// The weights of a model with an adapter's, F32, in double arithmetic.
    static void merge(Path model, Path adapter, double scale, Path target) throws IOException {
        Map<String, Matrix> matrices = matrices(adapter.resolve("adapter_model.safetensors"));
        List<String> used = new ArrayList<>();
        rewrite(
                model,
                target,
                (name, w) -> {
                    String layer = "base_model.model." + name.replaceAll("\\.weight$", "");
                    Matrix a = matrices.get(layer + ".lora_A.weight");
                    Matrix b = matrices.get(layer + ".lora_B.weight");
                    if (a == null) {
                        return w;
                    }
                    used.add(layer);
                    for (int o = 0; o < b.rows; o++) {
                        for (int i = 0; i < a.cols; i++) {
                            double sum = 0;
                            for (int r = 0; r < a.rows; r++) {
                                sum += (double) b.values[o * b.cols + r] * a.values[r * a.cols + i];
                            }
                            w[o * a.cols + i] += scale * sum;
                        }
                    }
                    return w;
                });
        if (2 * used.size() != matrices.size()) {
            throw new AssertionError(matrices.keySet() + " are not all of " + used);
        }
    }
}
