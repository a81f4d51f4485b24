// SPDX-License-Identifier: Apache-2.0
package io.llmc.pipeline.rotation;

import com.google.errorprone.annotations.MustBeClosed;
import io.llmc.backend.Backend;
import io.llmc.backend.Desk;
import io.llmc.backend.ForwardOp;
import io.llmc.backend.StatisticOp;
import io.llmc.formats.TensorInfo;
import io.llmc.formats.UserException;
import io.llmc.formats.checkpoint.Checkpoint;
import io.llmc.formats.checkpoint.TensorReader;
import io.llmc.model.BodySpec;
import io.llmc.model.LayerSpec;
import io.llmc.model.ModelSpec;
import io.llmc.model.arch.Architectures;
import io.llmc.model.structure.NormSpec;
import io.llmc.tensor.DType;
import io.llmc.tensor.Shape;
import io.llmc.tensor.Tensor;
import io.llmc.tensor.Weight;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.Arrays;
import java.util.List;
import java.util.SequencedMap;
import java.util.stream.IntStream;

/// The tensors of a model whose residual stream `x` has become `q x` with the same q everywhere,
/// and whose values `v` of each head have become `r v`: a plain model of the same architecture
/// (QuaRot, https://arxiv.org/abs/2404.00456; without its rotations at run time).
///
/// A linear layer that reads `norm(x)` becomes `w diag(norm) q^T`, one that writes to x becomes `q
/// w`, the embedding's rows are turned, and every norm's weight becomes `sqrt(old / new width)`,
/// since a norm divides by the mean over the width that there is; that is 1 where nothing is cut.
/// What makes values becomes `r w`, what reads them `w diag(r^T, r^T, ...)`.
///
/// A LayerNorm also subtracts the mean, so its q must keep that ([Hadamard#keepingMean]). Its bias
/// moves into those of its readers; where one has none, as an output layer, it stays and turns: `q
/// (bias / weight)`.
public final class RotatedModel implements Checkpoint.Derivation {
    private static final int ROWS = 4096;
    private static final String WEIGHT = ".weight";
    private static final String BIAS = ".bias";

    private final Backend backend;
    private final ModelSpec spec;
    private final Rotation stream;
    private final Turns turns;
    private final SequencedMap<String, TensorInfo> infos;

    /// @param source whose head is not tied: see [Untied]
    /// @param stream q, `[new width, old width]`; null to leave the stream. Of no more than sizes
    ///   where no tensor is asked for
    /// @param heads r of each block; empty to leave the values
    public RotatedModel(Backend backend, Checkpoint source, Rotation stream, List<Rotation> heads) {
        this.backend = backend;
        this.spec = Architectures.specOf(source);
        this.stream = stream;
        this.turns = Turns.of(source, spec, stream != null, heads);
        this.infos = turns.infos(source, stream);
    }

    /// Name and shape of every tensor of the result.
    public SequencedMap<String, TensorInfo> infos() {
        return infos;
    }

    /// A rotation that the stream of a model can take.
    public static Rotation stream(ModelSpec spec, long seed) {
        boolean means =
                spec.finalNorm().centers()
                        || spec.layers().stream()
                                .flatMap(layer -> layer.branches().stream())
                                .anyMatch(branch -> branch.pre() != null && branch.pre().centers());
        return means
                ? Hadamard.keepingMean(spec.hidden(), seed)
                : Hadamard.random(spec.hidden(), seed);
    }

    /// A rotation of the values of each block.
    public static List<Rotation> heads(ModelSpec spec, long seed) {
        return IntStream.range(0, spec.layers().size())
                .mapToObj(i -> Hadamard.random(width(spec.layers().get(i)), 31 * seed + i + 1))
                .toList();
    }

    private static int width(LayerSpec layer) {
        return layer.bodies()
                .flatMap(body -> body.mixGroups().stream())
                .mapToInt(group -> group.rows().width())
                .max()
                .orElse(1);
    }

    /// Why the stream of a model cannot be turned; null where it can.
    public static String obstacle(ModelSpec spec) {
        if (spec.finalNorm() == null
                || spec.input().norm() != null
                || !spec.projections().isEmpty()) {
            return "there are norms or projections between its embedding, its blocks and its output"
                    + " layer, which change the stream";
        }
        if (spec.rows().streams() > 1) {
            return "it has several streams, which are weighed by single channels of all of them";
        }
        if (spec.layers().stream().flatMap(LayerSpec::bodies).anyMatch(BodySpec::passesInput)) {
            return "some of its experts give back what they read, with the weights of the norm"
                    + " before them";
        }
        boolean behind =
                spec.layers().stream()
                        .flatMap(layer -> layer.branches().stream())
                        .anyMatch(branch -> branch.post() != null || branch.after() != null);
        return behind
                ? "its norms after attention and feed-forward scale single channels of what is"
                        + " added to the stream, which a rotation mixes"
                : null;
    }

    /// Bytes of the device that making a tensor takes at most.
    public static long bytes(ModelSpec spec) {
        long d = spec.hidden();
        long largest =
                spec.layers().stream()
                        .flatMap(layer -> layer.linears(spec.hidden()).stream())
                        .mapToLong(linear -> linear.out() * linear.in())
                        .max()
                        .orElse(0);
        // The stream's rotation is made in host memory, then handed over; a head's is smaller.
        return 12 * d * d + Math.max(chunkBytes(d, d), matrixBytes(largest)) + (1 << 16);
    }

    private static long chunkBytes(long from, long to) {
        return 4L * ROWS * (2 * to + 3 * from);
    }

    private static long matrixBytes(long values) {
        return 4 * 8 * values;
    }

    private long turnBytes(Turns.Layer layer) {
        return bytes(stream) + bytes(layer.heads());
    }

    private static long bytes(Rotation r) {
        return r == null ? 0 : 4L * r.rows() * r.cols();
    }

    @Override
    public Tensor tensor(String name, TensorReader base, Arena memory) {
        String owner = Turns.owner(name);
        boolean weight = name.endsWith(WEIGHT);
        TensorInfo info = infos.get(name);
        Tensor stored = base.tensor(name);
        if (turns.norm(owner) != null) {
            return weight
                    ? constant(turns.norm(owner), info, memory)
                    : bias(turns.norm(owner), stored, base, memory);
        }
        Turns.Layer layer = turns.layer(owner);
        if (layer == null || !weight && !name.endsWith(BIAS)) {
            return stored;
        }
        if (!weight) {
            return vector(layer, stored, base, memory);
        }
        boolean rows = layer.reads() && !layer.turnsRows() && !layer.transposed();
        return rows
                ? chunks(stored, layer, info, base, memory)
                : matrix(stored, layer, info, base, memory);
    }

    /// `sqrt(old / new)` less what the family adds to it.
    private Tensor constant(NormSpec norm, TensorInfo info, Arena memory) {
        double value = Math.sqrt(stream.cols() / (double) stream.rows()) - norm.offset();
        float[] values = new float[stream.rows()];
        Arrays.fill(values, (float) value);
        try (Desk d = desk(8L * values.length)) {
            return rounded(d, d.floats(values), info, memory);
        }
    }

    /// 0 where all readers have taken it over, else `q (bias / weight)`.
    private Tensor bias(NormSpec norm, Tensor stored, TensorReader base, Arena memory) {
        TensorInfo info = infos.get(norm.name() + BIAS);
        float[] values = new float[stream.cols()];
        try (Desk d = desk(4L * stream.rows() * stream.cols() + 32L * stream.cols())) {
            if (!turns.movesBias(norm)) {
                values = floats(stored);
                float[] scale = scale(norm, base);
                for (int i = 0; i < values.length; i++) {
                    if (scale[i] == 0 && values[i] != 0) {
                        throw new UserException(
                                "%s has a bias and no weight at channel %d, so it cannot be turned"
                                        .formatted(norm.name(), i),
                                "leave the stream as it is: {rotations} heads");
                    }
                    values[i] = values[i] == 0 ? 0 : values[i] / scale[i];
                }
            }
            Tensor turned = d.f32(1, stream.rows());
            Tensor x = d.floats(values).reshape(1, values.length);
            d.run(new ForwardOp.Matmul(turned, x, new Weight.Dense(matrix(d, stream, null))));
            return rounded(d, turned.reshape(stream.rows()), info, memory);
        }
    }

    /// `w diag(norm) q^T`, some rows at a time.
    private Tensor chunks(
            Tensor w, Turns.Layer layer, TensorInfo info, TensorReader base, Arena memory) {
        MemorySegment out = memory.allocate(info.byteSize(), 64);
        long width = stream.rows();
        try (Desk d = desk(4 * width * stream.cols() + chunkBytes(stream.cols(), width))) {
            Tensor turn = matrix(d, stream, scale(layer.norm(), base));
            for (long from = 0; from < w.rows(); from += ROWS) {
                long to = Math.min(w.rows(), from + ROWS);
                try (Desk scratch = d.scratch()) {
                    Tensor y = scratch.f32(to - from, width);
                    Tensor x = floats(scratch, w.rows(from, to));
                    d.run(new ForwardOp.Matmul(y, x, new Weight.Dense(turn)));
                    Tensor rounded = scratch.allocate(info.dtype(), to - from, width);
                    d.run(new ForwardOp.Scale(rounded, y, 1));
                    long row = info.dtype().bytesFor(width);
                    backend.download(out.asSlice(from * row, (to - from) * row), rounded);
                }
            }
        }
        return Tensor.of(out, info.dtype(), info.shape().dims());
    }

    /// A whole matrix: columns first, then rows.
    private Tensor matrix(
            Tensor w, Turns.Layer layer, TensorInfo info, TensorReader base, Arena memory) {
        long largest = Math.max(w.shape().size(), info.shape().size());
        try (Desk d = desk(turnBytes(layer) + matrixBytes(largest))) {
            Tensor x = transposed(d, floats(d, w), layer.transposed());
            if (layer.reads()) {
                x = columns(d, x, stream, scale(layer.norm(), base));
            }
            if (layer.heads() != null && layer.rows().isEmpty()) {
                long parts = x.cols() / layer.heads().cols();
                Tensor each = x.reshape(x.rows() * parts, layer.heads().cols());
                x = columns(d, each, layer.heads(), null).reshape(x.rows(), x.cols());
            }
            x = rows(d, x, layer);
            return rounded(d, transposed(d, x, layer.transposed()), info, memory);
        }
    }

    /// `b`, with what the norm's bias adds to it.
    private Tensor vector(Turns.Layer layer, Tensor stored, TensorReader base, Arena memory) {
        String name = layer.name();
        TensorInfo info = infos.get(name + BIAS);
        long out = stored.shape().size();
        boolean takes = layer.reads() && turns.movesBias(layer.norm());
        Tensor w = takes ? base.tensor(name + WEIGHT) : stored;
        try (Desk d = desk(turnBytes(layer) + matrixBytes(Math.max(w.shape().size(), out)))) {
            Tensor b = floats(d, stored);
            if (takes) {
                Tensor x = transposed(d, floats(d, w), layer.transposed());
                Tensor given =
                        d.floats(floats(base.tensor(layer.norm().name() + BIAS)))
                                .reshape(1, x.cols());
                Tensor added = d.f32(1, out);
                d.run(new ForwardOp.Matmul(added, given, new Weight.Dense(x)));
                Tensor sum = d.f32(1, out);
                d.run(new ForwardOp.Add(sum, b.reshape(1, out), added, 1));
                b = sum;
            }
            Tensor turned = rows(d, b.reshape(out, 1), layer);
            return rounded(d, turned.reshape(info.shape().dims()), info, memory);
        }
    }

    /// `x diag(scale) m^T`
    private Tensor columns(Desk d, Tensor x, Rotation m, float[] scale) {
        Tensor y = d.f32(x.rows(), m.rows());
        d.run(new ForwardOp.Matmul(y, x, new Weight.Dense(matrix(d, m, scale))));
        return y;
    }

    private Tensor rows(Desk d, Tensor x, Turns.Layer layer) {
        if (layer.writes()) {
            Tensor y = d.f32(stream.rows(), x.cols());
            turn(d, y, x, matrix(d, stream, null));
            return y;
        }
        if (!layer.rows().isEmpty()) {
            Tensor m = matrix(d, layer.heads(), null);
            for (int from : layer.rows()) {
                // In place: what is turned has been copied.
                Tensor part = x.rows(from, from + layer.heads().rows());
                turn(d, part, part, m);
            }
        }
        return x;
    }

    /// `y = m x`
    private static void turn(Desk d, Tensor y, Tensor x, Tensor m) {
        try (Desk scratch = d.scratch()) {
            Tensor columns = scratch.f32(x.cols(), x.rows());
            d.run(new StatisticOp.Transpose(columns, x));
            d.run(new ForwardOp.Matmul(y, m, new Weight.Dense(columns)));
        }
    }

    private static Tensor transposed(Desk d, Tensor x, boolean really) {
        if (!really) {
            return x;
        }
        Tensor y = d.f32(x.cols(), x.rows());
        d.run(new StatisticOp.Transpose(y, x));
        return y;
    }

    /// What a norm multiplies by; null for no norm.
    private float[] scale(NormSpec norm, TensorReader base) {
        if (norm == null) {
            return null;
        }
        float[] scale = floats(base.tensor(norm.name() + WEIGHT));
        for (int i = 0; i < scale.length; i++) {
            scale[i] += norm.offset();
        }
        return scale;
    }

    /// `m diag(scale)`, F32
    ///
    /// @param scale null for 1
    private static Tensor matrix(Desk d, Rotation m, float[] scale) {
        Tensor t = d.f32(m.rows(), m.cols());
        try (Arena host = d.backend().host().newArena()) {
            MemorySegment values = host.allocate(t.byteSize(), 64);
            for (int k = 0; k < m.rows(); k++) {
                for (int i = 0; i < m.cols(); i++) {
                    double value = m.at(k, i) * (scale == null ? 1 : scale[i]);
                    long at = (long) k * m.cols() + i;
                    values.setAtIndex(ValueLayout.JAVA_FLOAT, at, (float) value);
                }
            }
            d.backend().upload(t, values);
        }
        return t;
    }

    @MustBeClosed
    @SuppressWarnings("MustBeClosed") // the caller closes it
    private Desk desk(long bytes) {
        return new Desk(backend, backend.newArena(bytes + (1 << 16)));
    }

    private float[] floats(Tensor stored) {
        try (Desk d = desk(8 * stored.shape().size())) {
            return backend.floats(floats(d, stored));
        }
    }

    /// A file's tensor as F32 where the backend computes.
    private Tensor floats(Desk d, Tensor stored) {
        Tensor x = d.arena().allocate(DType.F32, stored.shape());
        Tensor here = backend.adopt(stored, d.arena());
        d.run(new ForwardOp.Scale(x, here, 1));
        return x;
    }

    /// Host memory of the type that the file has.
    private Tensor rounded(Desk d, Tensor y, TensorInfo info, Arena memory) {
        Tensor rounded = d.arena().allocate(info.dtype(), new Shape(info.shape().dims()));
        d.run(new ForwardOp.Scale(rounded, y, 1));
        MemorySegment out = memory.allocate(info.byteSize(), 64);
        backend.download(out, rounded);
        return Tensor.of(out, info.dtype(), info.shape().dims());
    }
}
