// SPDX-License-Identifier: Apache-2.0
package io.llmc.model.language;

import com.google.errorprone.annotations.MustBeClosed;
import io.llmc.backend.Backend;
import io.llmc.backend.ForwardOp;
import io.llmc.backend.OutOfDeviceMemoryException;
import io.llmc.backend.TensorArena;
import io.llmc.formats.Dequantizer;
import io.llmc.formats.UserException;
import io.llmc.formats.checkpoint.Checkpoint;
import io.llmc.formats.checkpoint.Holding;
import io.llmc.formats.checkpoint.TensorReader;
import io.llmc.model.BlockBuilder;
import io.llmc.model.Capability;
import io.llmc.model.DecoderBlock;
import io.llmc.model.Forward;
import io.llmc.model.LayerSpec;
import io.llmc.model.Linear;
import io.llmc.model.ModelSpec;
import io.llmc.model.Norm;
import io.llmc.model.Parameters;
import io.llmc.model.Positions;
import io.llmc.model.StreamEnds;
import io.llmc.model.TensorTable;
import io.llmc.tensor.DType;
import io.llmc.tensor.Shape;
import io.llmc.tensor.Tensor;
import io.llmc.tensor.Weight;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.Collections;
import java.util.List;
import java.util.SequencedMap;

/// What surrounds the blocks of a checkpoint, and the way to its blocks: never more than one of
/// them is in memory by its own doing.
public final class LanguageModel implements AutoCloseable {
    private final Checkpoint checkpoint;
    private final ModelSpec spec;
    private final Backend backend;
    private final TensorReader reader;
    private final TensorArena arena;
    private Tensor embedding;
    private final Tensor positionEmbedding;
    private final Norm inputNorm;
    private final List<Linear> projections;
    private final LayerInputs layerInputs;
    private final StreamEnds ends;
    private final Norm finalNorm;
    private final Linear head;
    private final SequencedMap<String, Tensor> parameters;

    /// Maps embedding, final norm and head; the caller keeps checkpoint and backend.
    @MustBeClosed
    public LanguageModel(Checkpoint checkpoint, ModelSpec spec, Backend backend) {
        this(checkpoint, spec, backend, Holding.MAPPED);
    }

    /// @param holding of embedding, final norm and head
    @MustBeClosed
    @SuppressWarnings("MustBeClosed") // closed by close()
    LanguageModel(Checkpoint checkpoint, ModelSpec spec, Backend backend, Holding holding) {
        Capability.requireOn(backend, spec);
        this.checkpoint = checkpoint;
        this.spec = spec;
        this.backend = backend;
        this.reader = checkpoint.reader(backend.host(), holding);
        this.arena = backend.newArena(BlockBuilder.outerBytes(checkpoint, spec, backend));
        BlockBuilder outside =
                new BlockBuilder(new StoredParameters(reader, backend, arena, false));
        this.embedding = embedding(outside);
        this.positionEmbedding =
                spec.positionEmbedding() == null
                        ? null
                        : outside.parameter(
                                spec.positionEmbedding() + ".weight",
                                spec.maxPositions() + spec.input().offset(),
                                spec.hidden());
        this.inputNorm = outside.norm(spec.input().norm(), spec.hidden());
        this.projections = outside.linears(spec.projections());
        this.layerInputs =
                spec.rows().inputs() == null ? null : LayerInputs.of(spec, outside, projections);
        this.ends =
                spec.rows().ends() == null ? null : StreamEnds.of(spec, outside, this::projection);
        this.finalNorm = outside.norm(spec.finalNorm(), spec.hidden());
        this.head =
                spec.tied()
                        ? new Linear(
                                spec.embedding(),
                                new Weight.Dense(embedding.rows(0, spec.vocabulary())),
                                spec.output().biased()
                                        ? outside.parameter(
                                                spec.head() + ".bias", spec.vocabulary())
                                        : null,
                                null)
                        : outside.linear(spec.headLayer());
        this.parameters = outside.others();
        if (!spec.tied() && head.weight() instanceof Weight.Dense(Tensor values)) {
            parameters.put(spec.head() + ".weight", values);
        }
    }

    /// Rows are looked up one by one, so that a packed embedding becomes plain values here.
    private Tensor embedding(BlockBuilder outside) {
        String name = spec.embedding();
        if (checkpoint.has(name + ".weight")
                && checkpoint.info(name + ".weight").dtype().isFloat()) {
            return outside.parameter(name + ".weight", spec.input().rows(), spec.input().width());
        }
        Weight packed = reader.weight(name);
        if (packed.outFeatures() != spec.input().rows()
                || packed.inFeatures() != spec.input().width()) {
            throw TensorTable.misfit(
                    checkpoint.directory(),
                    name,
                    "[%d, %d]".formatted(packed.outFeatures(), packed.inFeatures()),
                    "",
                    spec.input().rows(),
                    spec.input().width());
        }
        Tensor values = Dequantizer.values(packed, packed.valueType(), reader.arena());
        return backend.adopt(values, arena);
    }

    /// Puts other rows in the place of the token embedding's; the output layer stays.
    ///
    /// @param rows F32, F16 or BF16 `[vocabulary, hidden]`
    public void replaceEmbedding(Tensor rows) {
        embedding = rows;
    }

    public Tensor embedding() {
        return embedding;
    }

    public Checkpoint checkpoint() {
        return checkpoint;
    }

    public ModelSpec spec() {
        return spec;
    }

    public Backend backend() {
        return backend;
    }

    /// Everything dense outside of the blocks, by its name in the checkpoint.
    public SequencedMap<String, Tensor> parameters() {
        return Collections.unmodifiableSequencedMap(parameters);
    }

    /// The output layer: the embedding where they are tied.
    public Linear head() {
        return head;
    }

    /// Bytes of the device that a block's weights take as `c` has them: none where it reads the
    /// host's memory.
    private long blockBytes(Checkpoint c, int index) {
        if (backend.sharesHostMemory()) {
            return 1 << 16;
        }
        String prefix = spec.layers().get(index).prefix();
        // Packed zero points and group indices may be wider in memory than they are stored.
        int packed = c.quantization().isPresent() ? 2 : 1;
        return c.names().stream()
                        .filter(name -> name.startsWith(prefix))
                        .mapToLong(name -> packed * c.info(name).byteSize() + 1024)
                        .sum()
                + (1 << 16);
    }

    /// Bytes of the device that a block's weights take.
    public long blockBytes(int index) {
        return blockBytes(checkpoint, index);
    }

    /// An arena for a block's weights as this model has them.
    ///
    /// @throws UserException where the device has less, with the block's name
    @MustBeClosed
    public TensorArena newBlockArena(int index) {
        return newBlockArena(index, 0);
    }

    /// An arena for a block's weights as another checkpoint has them.
    @MustBeClosed
    public TensorArena newBlockArena(Checkpoint other, int index) {
        return newBlockArena(index, blockBytes(other, index));
    }

    /// An arena for a block's weights and for what passes put in their place.
    ///
    /// @param more bytes of that
    @MustBeClosed
    public TensorArena newBlockArena(int index, long more) {
        long bytes = blockBytes(index) + more;
        try {
            return backend.newArena(bytes);
        } catch (OutOfDeviceMemoryException e) {
            throw new UserException(
                    "block %d of %s needs %,d bytes of %s, which has %,d left"
                            .formatted(
                                    index,
                                    checkpoint.directory(),
                                    bytes,
                                    backend.device(),
                                    backend.room()),
                    "raise {memory} where it is given, free what else uses the device, or pass"
                            + " {device} cpu");
        }
    }

    /// Block `index`, its weights mapped by `blockReader` and, on another device, copied to
    /// `blockArena`.
    public DecoderBlock block(int index, TensorReader blockReader, TensorArena blockArena) {
        return block(spec.layers().get(index), blockReader, blockArena);
    }

    /// A block of other sizes than this model's own, as a compressed checkpoint has it.
    public DecoderBlock block(LayerSpec layer, TensorReader blockReader, TensorArena blockArena) {
        return block(
                layer, new StoredParameters(blockReader, backend, blockArena, spec.inOutLinears()));
    }

    /// A block of the given parameters.
    public DecoderBlock block(LayerSpec layer, Parameters parameters) {
        return block(layer, spec.hidden(), parameters);
    }

    /// A block of the given parameters.
    ///
    /// @param hidden width of the residual stream
    public static DecoderBlock block(LayerSpec layer, int hidden, Parameters parameters) {
        return new BlockBuilder(parameters).block(layer, hidden);
    }

    /// The first block's input of sequences of token ids: I32 host memory, whole sequences of the
    /// pass's length.
    public Tensor embed(Forward f, MemorySegment ids) {
        int rows = Math.toIntExact(ids.byteSize() / 4);
        Tensor row = f.allocate(rows, spec.width());
        try (TensorArena scratch = f.arena().scratch()) {
            Forward inner = f.in(scratch);
            if (spec.width() == spec.hidden()) {
                embed(inner, row, ids);
                return row;
            }
            Tensor x = inner.allocate(rows, spec.hidden());
            embed(inner, x, ids);
            f.run(new ForwardOp.Zero(row));
            if (ends == null) {
                f.run(new ForwardOp.PutColumns(row, x, 0));
            } else {
                ends.spread(inner, row, x);
            }
            if (layerInputs != null) {
                layerInputs.put(inner, row, x, ids);
            }
            if (spec.rows().token() != 0) {
                f.run(
                        new ForwardOp.PutColumns(
                                row, LayerInputs.numbers(inner, ids), spec.rows().token()));
            }
        }
        return row;
    }

    /// The residual stream alone.
    private void embed(Forward f, Tensor x, MemorySegment ids) {
        long rows = x.rows();
        Tensor sum = inputNorm == null ? x : f.allocate(rows, spec.hidden());
        if (positionEmbedding == null) {
            tokens(f, sum, ids);
        } else {
            Tensor token = f.allocate(rows, spec.hidden());
            Tensor position = f.allocate(rows, spec.hidden());
            tokens(f, token, ids);
            Tensor positions = f.arena().allocate(DType.I32, new Shape(rows));
            uploadPositions(positions, Math.toIntExact(rows), f.positions());
            f.run(new ForwardOp.Embed(position, positions, positionEmbedding, 1));
            f.run(new ForwardOp.Add(sum, token, position, 1));
        }
        if (inputNorm != null) {
            inputNorm.forward(f, x, sum);
        }
    }

    private void tokens(Forward f, Tensor out, MemorySegment ids) {
        Tensor tokens = f.arena().allocate(DType.I32, new Shape(out.rows()));
        backend.upload(tokens, ids);
        if (spec.input().project() == null) {
            f.run(new ForwardOp.Embed(out, tokens, embedding, spec.embeddingScale()));
            return;
        }
        Tensor narrow = f.allocate(out.rows(), spec.input().width());
        f.run(new ForwardOp.Embed(narrow, tokens, embedding, spec.embeddingScale()));
        projection(spec.input().project()).forward(f, out, narrow);
    }

    private Linear projection(String name) {
        return projections.stream().filter(p -> p.name().equals(name)).findFirst().orElseThrow();
    }

    private void uploadPositions(Tensor tensor, int rows, Positions positions) {
        try (Arena host = Arena.ofConfined()) {
            MemorySegment values = host.allocate(4L * rows, 4);
            for (int r = 0; r < rows; r++) {
                values.setAtIndex(ValueLayout.JAVA_INT, r, positions.of(r) + spec.input().offset());
            }
            backend.upload(tensor, values);
        }
    }

    /// `out = project(norm(x))`: what the head reads, `[rows, input().width()]`.
    ///
    /// @param row behind the last block
    public void finalNorm(Forward f, Tensor out, Tensor row) {
        if (row.cols() == spec.hidden()) {
            ofStream(f, out, row);
            return;
        }
        try (TensorArena scratch = f.arena().scratch()) {
            Tensor x = f.in(scratch).allocate(row.rows(), spec.hidden());
            if (ends == null) {
                f.run(new ForwardOp.Columns(x, row, 0));
            } else {
                ends.gather(f.in(scratch), x, row);
            }
            ofStream(f.in(scratch), out, x);
        }
    }

    private void ofStream(Forward f, Tensor out, Tensor x) {
        if (spec.output().project() == null) {
            normOrCopy(f, out, x);
            return;
        }
        try (TensorArena scratch = f.arena().scratch()) {
            Tensor normed = f.in(scratch).allocate(x.rows(), x.cols());
            normOrCopy(f.in(scratch), normed, x);
            projection(spec.output().project()).forward(f.in(scratch), out, normed);
        }
    }

    private void normOrCopy(Forward f, Tensor out, Tensor x) {
        if (finalNorm == null) {
            f.run(new ForwardOp.Scale(out, x, 1));
        } else {
            finalNorm.forward(f, out, x);
        }
    }

    /// Scores of every token of the vocabulary, or of its first ones, for rows that [#finalNorm]
    /// has seen.
    ///
    /// @param out `[rows, vocabulary]`, or fewer columns
    public void logits(Forward f, Tensor out, Tensor normed) {
        Linear head = out.cols() < spec.vocabulary() ? this.head.first(out.cols()) : this.head;
        ModelSpec.Output output = spec.output();
        if (output.scale() == 1 && output.softcap() == 0) {
            head.forward(f, out, normed);
            return;
        }
        try (TensorArena scratch = f.arena().scratch()) {
            Forward inner = f.in(scratch);
            Tensor raw = inner.allocate(out.rows(), out.cols());
            head.forward(inner, raw, normed);
            if (output.softcap() == 0) {
                f.run(new ForwardOp.Scale(out, raw, output.scale()));
                return;
            }
            Tensor scaled = raw;
            if (output.scale() != 1) {
                scaled = inner.allocate(out.rows(), out.cols());
                f.run(new ForwardOp.Scale(scaled, raw, output.scale()));
            }
            f.run(new ForwardOp.Softcap(out, scaled, output.softcap()));
        }
    }

    @Override
    public void close() {
        arena.close();
        reader.close();
    }
}
