// SPDX-License-Identifier: Apache-2.0
package io.llmc.model;

import com.google.errorprone.annotations.MustBeClosed;
import io.llmc.backend.Backend;
import io.llmc.backend.Op;
import io.llmc.backend.Slab;
import io.llmc.backend.TensorArena;
import io.llmc.model.Stage.Activations;
import io.llmc.tensor.Buffer;
import io.llmc.tensor.DType;
import io.llmc.tensor.Lifetime;
import io.llmc.tensor.Shape;
import io.llmc.tensor.Tensor;
import io.llmc.tensor.Weight;
import java.lang.foreign.MemorySegment;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;

/// Measures what a pass through a block needs, by making one that computes nothing.
///
/// Routers get zeros back, so that every token goes to the first experts: the most that one can
/// get.
public final class ArenaPlan implements Backend {
    private final String device;
    private long peak;

    private ArenaPlan(String device) {
        this.device = device;
    }

    /// Bytes that moving `rows` rows through the block takes, inputs and outputs of stages
    /// included.
    public static long of(
            DecoderBlock block, int rows, int hidden, Positions positions, Backend real) {
        ArenaPlan plan = new ArenaPlan(real.device());
        try (TensorArena arena = plan.newArena(Long.MAX_VALUE)) {
            Forward f = new Forward(plan, arena, positions);
            Activations a = Activations.of(arena.allocate(DType.F32, new Shape(rows, hidden)));
            for (Stage stage : block.stages()) {
                stage.run(f.observing((_, _) -> {}), a);
                a = stage.run(f, a);
            }
        }
        return plan.peak + (1 << 12);
    }

    /// An arena of tensors without bytes, which go along with a plan.
    @MustBeClosed
    public static TensorArena tables(Backend real) {
        return new ArenaPlan(real.device()).newArena(Long.MAX_VALUE);
    }

    /// Positions without angles.
    public static Positions positions(ModelSpec spec, int rows, Backend real, TensorArena tables) {
        List<Positions.Run> runs = List.of(new Positions.Run(0, rows));
        return Positions.of(spec.ropes(), runs, new ArenaPlan(real.device()), tables);
    }

    /// Bytes that a pass of `rows` rows through the block takes, with its input.
    ///
    /// @param past what it looks back to
    public static long of(
            DecoderBlock block,
            int rows,
            int hidden,
            Positions positions,
            Past past,
            Backend real) {
        ArenaPlan plan = new ArenaPlan(real.device());
        try (TensorArena arena = plan.newArena(Long.MAX_VALUE)) {
            Forward f = new Forward(plan, plan, arena, positions, Tap.NONE, false, past);
            block.forward(f, arena.allocate(DType.F32, new Shape(rows, hidden)));
        }
        return plan.peak + (1 << 12);
    }

    /// What a pass takes.
    ///
    /// @param bytes of its arena
    /// @param kept bytes that each stage hands on beside the residual stream
    public record Pass(long bytes, List<Long> kept) {
        public long mostKept() {
            return Collections.max(kept);
        }
    }

    /// A pass of whole sequences through a block of which only sizes are known.
    public static Pass pass(DecoderBlock block, int rows, int hidden, int length) {
        ArenaPlan plan = new ArenaPlan("cpu");
        try (TensorArena tables = plan.newArena(Long.MAX_VALUE);
                TensorArena arena = plan.newArena(Long.MAX_VALUE)) {
            Positions positions = Positions.of(block.spec(), length, plan, tables);
            plan.peak = 0;
            Forward f = new Forward(plan, arena, positions);
            Activations a = Activations.of(arena.allocate(DType.F32, new Shape(rows, hidden)));
            List<Long> kept = new ArrayList<>();
            for (Stage stage : block.stages()) {
                stage.run(f.observing((_, _) -> {}), a);
                a = stage.run(f, a);
                kept.add(a.kept().stream().mapToLong(Tensor::byteSize).sum());
            }
            return new Pass(plan.peak + (1 << 12), kept);
        }
    }

    /// A tensor without bytes, of floats.
    public static Tensor nothing(Shape shape) {
        return nothing(DType.F32, shape);
    }

    /// A tensor without bytes.
    public static Tensor nothing(DType type, Shape shape) {
        return new Tensor(new Nothing("cpu", type.bytesFor(shape.size())), 0, type, shape);
    }

    /// Bytes that everything takes that a pass of `rows` rows through the block allocates, where
    /// nothing is given back: what a tape keeps.
    public static long kept(
            DecoderBlock block, int rows, int hidden, Positions positions, Backend real) {
        ArenaPlan plan = new ArenaPlan(real.device());
        try (TensorArena arena = plan.newArena(Long.MAX_VALUE)) {
            Forward f = new Forward(plan, Tape.keeping(arena), positions);
            block.forward(f, arena.allocate(DType.F32, new Shape(rows, hidden)));
        }
        return plan.peak + (1 << 12);
    }

    /// As [#kept(DecoderBlock, int, int, Positions, Backend)], of a block of which only sizes are
    /// known.
    ///
    /// @param length tokens of a sequence
    public static long kept(DecoderBlock block, int rows, int hidden, int length) {
        ArenaPlan plan = new ArenaPlan("cpu");
        try (TensorArena tables = plan.newArena(Long.MAX_VALUE)) {
            Positions positions = Positions.of(block.spec(), length, plan, tables);
            return kept(block, rows, hidden, positions, plan);
        }
    }

    @Override
    @MustBeClosed
    public TensorArena newArena(long bytes) {
        return new Slab(
                new Slab.Memory() {
                    @Override
                    public Buffer slice(long offset, long size, Lifetime lifetime) {
                        peak = Math.max(peak, offset + size);
                        return new Nothing(device, size);
                    }

                    @Override
                    public String device() {
                        return device;
                    }

                    @Override
                    public long capacity() {
                        return Long.MAX_VALUE / 2;
                    }

                    @Override
                    public void free() {}
                });
    }

    private record Nothing(String device, long byteSize) implements Buffer {
        @Override
        public boolean isAlive() {
            return true;
        }
    }

    @Override
    public String device() {
        return device;
    }

    @Override
    public boolean sharesHostMemory() {
        return true; // it computes nothing, so nothing has to be copied
    }

    @Override
    public void run(Op op) {}

    @Override
    public void upload(Tensor dst, MemorySegment src) {}

    @Override
    public void download(MemorySegment dst, Tensor src) {
        dst.fill((byte) 0);
    }

    @Override
    public Weight adopt(Weight host, TensorArena arena) {
        return host;
    }

    @Override
    public Tensor adopt(Tensor host, TensorArena arena) {
        return host;
    }

    @Override
    public void close() {}
}
