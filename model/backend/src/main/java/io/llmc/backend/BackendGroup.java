// SPDX-License-Identifier: Apache-2.0
package io.llmc.backend;

import com.google.errorprone.annotations.MustBeClosed;
import io.llmc.formats.MemoryBudget;
import io.llmc.tensor.Tensor;
import io.llmc.tensor.Weight;
import java.lang.foreign.MemorySegment;
import java.util.List;

/// Several devices that share what can be shared. To who does not ask for [#group] it is the first
/// of them.
public final class BackendGroup implements Backend {
    private final List<Backend> members;
    private final Backend first;

    /// @param members at least one; closed with the group
    public BackendGroup(List<Backend> members) {
        this.members = List.copyOf(members);
        this.first = members.getFirst();
    }

    @Override
    public List<Backend> group() {
        return members;
    }

    @Override
    public boolean runs(Class<? extends Op> op) {
        return first.runs(op);
    }

    @Override
    public String device() {
        return first.device();
    }

    @Override
    public boolean sharesHostMemory() {
        return first.sharesHostMemory();
    }

    @Override
    public void run(Op op) {
        first.run(op);
    }

    @Override
    @MustBeClosed
    public TensorArena newArena(long bytes) {
        return first.newArena(bytes);
    }

    @Override
    public MemoryBudget host() {
        return first.host();
    }

    @Override
    public long kernelBytes(long rows, long out, long in) {
        return first.kernelBytes(rows, out, in);
    }

    @Override
    public boolean unpacks(Weight w) {
        return first.unpacks(w);
    }

    @Override
    public boolean multipliesIntegers() {
        return first.multipliesIntegers();
    }

    @Override
    public long room() {
        return first.room();
    }

    @Override
    public void receive(Tensor dst, Tensor src) {
        first.receive(dst, src);
    }

    @Override
    public void upload(Tensor dst, MemorySegment src) {
        first.upload(dst, src);
    }

    @Override
    public void download(MemorySegment dst, Tensor src) {
        first.download(dst, src);
    }

    @Override
    public Weight adopt(Weight host, TensorArena arena) {
        return first.adopt(host, arena);
    }

    @Override
    public Tensor adopt(Tensor host, TensorArena arena) {
        return first.adopt(host, arena);
    }

    @Override
    public void close() {
        members.forEach(Backend::close);
    }
}
