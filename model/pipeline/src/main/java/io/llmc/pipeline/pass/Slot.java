// SPDX-License-Identifier: Apache-2.0
package io.llmc.pipeline.pass;

import io.llmc.backend.Backend;
import io.llmc.backend.ForwardOp;
import io.llmc.backend.TensorArena;
import io.llmc.tensor.DType;
import io.llmc.tensor.HostBuffer;
import io.llmc.tensor.Shape;
import io.llmc.tensor.Tensor;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;

/// One tensor of a chunk in memory of its own.
sealed interface Slot extends AutoCloseable {
    /// Whether this is the slot's own tensor.
    boolean holds(Tensor t);

    /// Keeps a copy, unless it is the slot's own tensor.
    void save(Tensor t);

    /// What was saved; the slot's own bytes where `arena`'s device can read them.
    Tensor load(Shape shape, TensorArena arena);

    /// Takes a copy of host bytes.
    void restore(MemorySegment from, Shape shape);

    /// As many bytes as the first elements of the tensor take, in host memory.
    MemorySegment bytes(long size, Arena host);

    @Override
    void close();

    final class OnHost implements Slot {
        private final Backend backend;
        private Arena arena;
        private MemorySegment bytes;

        OnHost(Backend backend) {
            this.backend = backend;
        }

        @SuppressWarnings("MustBeClosed") // closed by close()
        MemorySegment reserve(long size) {
            if (bytes == null || bytes.byteSize() < size) {
                close();
                arena = backend.host().newArena();
                bytes = arena.allocate(size, 64);
            }
            return bytes.asSlice(0, size);
        }

        @Override
        public boolean holds(Tensor t) {
            return t.buffer() instanceof HostBuffer
                    && bytes != null
                    && t.bytes().address() == bytes.address();
        }

        @Override
        public void save(Tensor t) {
            if (!holds(t)) {
                backend.download(reserve(t.byteSize()), t);
            }
        }

        @Override
        public Tensor load(Shape shape, TensorArena to) {
            Tensor host = Tensor.of(bytes.asSlice(0, 4 * shape.size()), DType.F32, shape.dims());
            return backend.adopt(host, to);
        }

        @Override
        public void restore(MemorySegment from, Shape shape) {
            reserve(from.byteSize()).copyFrom(from);
        }

        @Override
        public MemorySegment bytes(long size, Arena host) {
            return bytes.asSlice(0, size);
        }

        @Override
        public void close() {
            if (arena != null) {
                arena.close();
                arena = null;
                bytes = null;
            }
        }
    }

    final class OnDevice implements Slot {
        private final Backend backend;
        private TensorArena arena;
        private Tensor all;

        OnDevice(Backend backend) {
            this.backend = backend;
        }

        @SuppressWarnings("MustBeClosed") // closed by close()
        Tensor reserve(Shape shape) {
            if (all == null || all.byteSize() < 4 * shape.size()) {
                close();
                arena = backend.newArena(4 * shape.size());
                all = arena.allocate(DType.F32, new Shape(shape.size()));
            }
            return new Tensor(all.buffer(), 0, DType.F32, shape);
        }

        @Override
        public boolean holds(Tensor t) {
            return all != null && t.buffer().equals(all.buffer());
        }

        @Override
        public void save(Tensor t) {
            if (holds(t)) {
                return;
            }
            Tensor to = reserve(t.shape());
            if (t.buffer().device().equals(backend.device())) {
                backend.run(new ForwardOp.Scale(to, t, 1));
            } else {
                backend.receive(to, t);
            }
        }

        @Override
        public Tensor load(Shape shape, TensorArena to) {
            return reserve(shape);
        }

        @Override
        public void restore(MemorySegment from, Shape shape) {
            backend.upload(reserve(shape), from);
        }

        @Override
        public MemorySegment bytes(long size, Arena host) {
            MemorySegment copy = host.allocate(size, 64);
            backend.download(copy, new Tensor(all.buffer(), 0, DType.F32, new Shape(size / 4)));
            return copy;
        }

        @Override
        public void close() {
            if (arena != null) {
                arena.close();
                arena = null;
                all = null;
            }
        }
    }
}
