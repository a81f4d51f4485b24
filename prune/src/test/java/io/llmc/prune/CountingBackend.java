// SPDX-License-Identifier: Apache-2.0
package io.llmc.prune;

import com.google.errorprone.annotations.MustBeClosed;
import io.llmc.backend.Backend;
import io.llmc.backend.ForwardOp;
import io.llmc.backend.Op;
import io.llmc.backend.TensorArena;
import io.llmc.tensor.Tensor;
import io.llmc.tensor.Weight;
import java.lang.foreign.MemorySegment;

/// Counts the tokens that go through attention, in sequences of one length.
public final class CountingBackend implements Backend {
    private final Backend real;
    private final int length;
    private long tokens;

    public CountingBackend(Backend real, int length) {
        this.real = real;
        this.length = length;
    }

    /// So many tokens went through a block; each as often as it did.
    public long tokens() {
        return tokens;
    }

    @Override
    public void run(Op op) {
        if (op instanceof ForwardOp.Attention a && a.spec().reach().length() == length) {
            tokens += a.q().rows();
        }
        real.run(op);
    }

    @Override
    public String device() {
        return real.device();
    }

    @Override
    public boolean sharesHostMemory() {
        return real.sharesHostMemory();
    }

    @Override
    @MustBeClosed
    public TensorArena newArena(long bytes) {
        return real.newArena(bytes);
    }

    @Override
    public void upload(Tensor dst, MemorySegment src) {
        real.upload(dst, src);
    }

    @Override
    public void download(MemorySegment dst, Tensor src) {
        real.download(dst, src);
    }

    @Override
    public Weight adopt(Weight host, TensorArena arena) {
        return real.adopt(host, arena);
    }

    @Override
    public Tensor adopt(Tensor host, TensorArena arena) {
        return real.adopt(host, arena);
    }

    @Override
    public void close() {
        real.close();
    }
}
