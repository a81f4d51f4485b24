// SPDX-License-Identifier: Apache-2.0
package io.llmc.prune.slice;

import io.llmc.backend.Backend;
import io.llmc.backend.Desk;
import io.llmc.backend.ForwardOp;
import io.llmc.backend.StatisticOp;
import io.llmc.backend.TensorArena;
import io.llmc.formats.TensorInfo;
import io.llmc.formats.checkpoint.Checkpoint;
import io.llmc.formats.checkpoint.TensorReader;
import io.llmc.model.BranchSpec;
import io.llmc.model.LayerSpec;
import io.llmc.model.ModelSpec;
import io.llmc.model.structure.NormSpec;
import io.llmc.model.structure.Streams;
import io.llmc.tensor.DType;
import io.llmc.tensor.Shape;
import io.llmc.tensor.Tensor;
import io.llmc.tensor.Weight;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.HashMap;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.SequencedMap;
import java.util.Set;

/// The tensors of a model whose residual stream `x` has become `q x` with the same q everywhere: a
/// plain model of the same architecture.
///
/// A linear layer that reads `norm(x)` becomes `w diag(norm) q^T`, one that writes to x becomes `q
/// w`, the embedding's rows are rotated, and every norm's weight becomes `sqrt(old / new width)`,
/// since a norm divides by the mean over the width that there is (slicing as in SliceGPT,
/// https://arxiv.org/abs/2401.15024, with one rotation for all blocks, so that no shortcut matrices
/// are needed).
final class Rotation implements Checkpoint.Derivation {
    private static final int ROWS = 4096;

    private final Backend backend;
    private final ModelSpec spec;
    private final double[][] q;
    private final SequencedMap<String, TensorInfo> infos;

    /// What reads the stream, and the norm before it.
    private final Map<String, NormSpec> readers = new HashMap<>();

    /// What writes to the stream.
    private final Set<String> writers = new HashSet<>();

    private final Map<String, NormSpec> norms = new HashMap<>();

    /// What the result calls the embedding and the head, which a tied matrix becomes both of,
    /// whatever the one name is that it is stored under.
    private final String embedding;

    private final String head;

    /// @param q `[new width][old width]`, orthonormal rows; null where only sizes are wanted
    Rotation(Backend backend, Checkpoint source, ModelSpec spec, double[][] q, int width) {
        this.backend = backend;
        this.spec = spec;
        this.q = q;
        boolean underHeadsName = spec.embedding().equals("lm_head");
        this.embedding = underHeadsName ? "model.embed_tokens" : spec.embedding();
        this.head = spec.tied() ? "lm_head" : spec.head();
        for (LayerSpec layer : spec.layers()) {
            for (BranchSpec branch : layer.branches()) {
                Streams streams = branch.body().streams();
                streams.readers().forEach(n -> readers.put(n, branch.pre()));
                writers.addAll(streams.writers());
                norms.put(branch.pre().name(), branch.pre());
            }
        }
        readers.put(head, spec.finalNorm());
        norms.put(spec.finalNorm().name(), spec.finalNorm());
        this.infos = infos(source, width);
    }

    /// Name and shape of every tensor of the result.
    SequencedMap<String, TensorInfo> infos() {
        return infos;
    }

    private SequencedMap<String, TensorInfo> infos(Checkpoint source, int width) {
        SequencedMap<String, TensorInfo> all = new LinkedHashMap<>();
        for (String name : source.names()) {
            TensorInfo info = source.info(name);
            String owner = owner(name);
            long[] dims = info.shape().dims();
            boolean weight = name.endsWith(".weight");
            if (weight && (readers.containsKey(owner) || owner.equals(embedding))) {
                dims[1] = width;
            } else if (writers.contains(owner) || norms.containsKey(owner)) {
                dims[0] = width;
            }
            all.put(name, TensorInfo.of(name, info.dtype(), dims));
        }
        if (spec.tied()) {
            TensorInfo matrix = all.get(spec.embedding() + ".weight");
            for (String name : List.of(embedding + ".weight", head + ".weight")) {
                all.put(name, TensorInfo.of(name, matrix.dtype(), matrix.shape().dims()));
            }
        }
        return all;
    }

    private static String owner(String name) {
        return name.substring(0, Math.max(0, name.lastIndexOf('.')));
    }

    @Override
    public Tensor tensor(String name, TensorReader base, Arena memory) {
        String owner = owner(name);
        TensorInfo info = infos.get(name);
        boolean weight = name.endsWith(".weight");
        if (norms.containsKey(owner)) {
            return constant(norms.get(owner), info, memory);
        }
        if (weight && owner.equals(embedding)) {
            return read(base.tensor(spec.embedding() + ".weight"), null, info, base, memory);
        }
        if (weight && owner.equals(head)) {
            Tensor matrix = base.tensor(spec.head() + ".weight");
            return read(matrix, spec.finalNorm(), info, base, memory);
        }
        if (weight && readers.containsKey(owner)) {
            return read(base.tensor(name), readers.get(owner), info, base, memory);
        }
        if (writers.contains(owner)) {
            return written(base.tensor(name), info, memory);
        }
        return base.tensor(name);
    }

    /// `sqrt(old / new)` less what the family adds to it.
    private Tensor constant(NormSpec norm, TensorInfo info, Arena memory) {
        double value = Math.sqrt(spec.hidden() / (double) q.length) - norm.offset();
        float[] values = new float[q.length];
        java.util.Arrays.fill(values, (float) value);
        try (TensorArena arena = backend.newArena(8L * q.length + 1024)) {
            return rounded(new Desk(backend, arena).floats(values), info, arena, memory);
        }
    }

    /// `w diag(norm) q^T`, some rows at a time.
    ///
    /// @param norm null for none
    private Tensor read(Tensor w, NormSpec norm, TensorInfo info, TensorReader base, Arena memory) {
        int d = spec.hidden();
        MemorySegment out = memory.allocate(info.byteSize(), 64);
        float[] scale = scale(norm, base);
        try (TensorArena arena =
                backend.newArena(4L * q.length * d + 4L * ROWS * (2L * q.length + 3L * d) + 8192)) {
            Tensor turned = matrix(arena, scale);
            for (long from = 0; from < w.rows(); from += ROWS) {
                long to = Math.min(w.rows(), from + ROWS);
                try (TensorArena scratch = arena.scratch()) {
                    Tensor x = floats(scratch, w.rows(from, to));
                    Tensor y = scratch.allocate(DType.F32, new Shape(to - from, q.length));
                    backend.run(new ForwardOp.Matmul(y, x, new Weight.Dense(turned)));
                    Tensor rounded = scratch.allocate(info.dtype(), y.shape());
                    backend.run(new ForwardOp.Scale(rounded, y, 1));
                    long row = info.dtype().bytesFor(q.length);
                    backend.download(out.asSlice(from * row, (to - from) * row), rounded);
                }
            }
        }
        return Tensor.of(out, info.dtype(), info.shape().dims());
    }

    private float[] scale(NormSpec norm, TensorReader base) {
        int d = spec.hidden();
        float[] scale = new float[d];
        java.util.Arrays.fill(scale, 1);
        if (norm == null) {
            return scale;
        }
        try (TensorArena arena = backend.newArena(16L * d + 1024)) {
            float[] weight = backend.floats(floats(arena, base.tensor(norm.name() + ".weight")));
            for (int i = 0; i < d; i++) {
                scale[i] = weight[i] + norm.offset();
            }
        }
        return scale;
    }

    /// `q diag(scale)`, F32 `[new, old]`
    private Tensor matrix(TensorArena arena, float[] scale) {
        int d = spec.hidden();
        Tensor t = arena.allocate(DType.F32, new Shape(q.length, d));
        try (Arena host = Arena.ofConfined()) {
            MemorySegment values = host.allocate(4L * q.length * d, 64);
            for (int k = 0; k < q.length; k++) {
                for (int i = 0; i < d; i++) {
                    values.setAtIndex(
                            ValueLayout.JAVA_FLOAT, (long) k * d + i, (float) (q[k][i] * scale[i]));
                }
            }
            backend.upload(t, values);
        }
        return t;
    }

    /// `q w`, or `q b` for a bias.
    private Tensor written(Tensor w, TensorInfo info, Arena memory) {
        int d = spec.hidden();
        long in = w.shape().rank() == 1 ? 1 : w.cols();
        Tensor flat = w.reshape(d, in);
        long bytes = 4L * (q.length * (long) d + 3L * d * in + 2L * q.length * in) + 8192;
        try (TensorArena arena = backend.newArena(bytes)) {
            float[] ones = new float[d];
            java.util.Arrays.fill(ones, 1);
            Tensor turned = matrix(arena, ones);
            Tensor x = floats(arena, flat);
            Tensor columns = arena.allocate(DType.F32, new Shape(in, d));
            backend.run(new StatisticOp.Transpose(columns, x));
            Tensor y = arena.allocate(DType.F32, new Shape(q.length, in));
            backend.run(new ForwardOp.Matmul(y, turned, new Weight.Dense(columns)));
            return rounded(y, info, arena, memory);
        }
    }

    /// A file's tensor as F32 where the backend computes.
    private Tensor floats(TensorArena arena, Tensor stored) {
        Tensor here = backend.adopt(stored, arena);
        Tensor x = arena.allocate(DType.F32, stored.shape());
        backend.run(new ForwardOp.Scale(x, here, 1));
        return x;
    }

    /// Host memory of the type that the file has.
    private Tensor rounded(Tensor y, TensorInfo info, TensorArena arena, Arena memory) {
        Tensor rounded = arena.allocate(info.dtype(), y.shape());
        backend.run(new ForwardOp.Scale(rounded, y, 1));
        MemorySegment out = memory.allocate(info.byteSize(), 64);
        backend.download(out, rounded);
        return Tensor.of(out, info.dtype(), info.shape().dims());
    }

    /// Why a model cannot be rotated; null where it can.
    static String obstacle(ModelSpec spec) {
        for (LayerSpec layer : spec.layers()) {
            for (BranchSpec branch : layer.branches()) {
                if (branch.pre() == null || branch.pre().kind() != NormSpec.Kind.RMS) {
                    return "its LayerNorms subtract the mean over channels, which a rotation mixes";
                }
            }
            if (layer.branches().stream().anyMatch(branch -> branch.post() != null)) {
                return "its norms after attention and feed-forward scale single channels of what is"
                        + " added to the stream, which a rotation mixes";
            }
        }
        if (spec.finalNorm().kind() != NormSpec.Kind.RMS) {
            return "its last LayerNorm subtracts the mean over channels, which a rotation mixes";
        }
        if (spec.positionEmbedding() != null) {
            return "it adds learned positions to the stream";
        }
        if (spec.inOutLinears()) {
            return "its weights are stored [in, out]";
        }
        if (spec.embeddingScale() != 1) {
            return "it scales embeddings by the root of the hidden size, which would change";
        }
        return null;
    }
}
