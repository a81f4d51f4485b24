// SPDX-License-Identifier: Apache-2.0
package io.llmc.backend;

import com.google.errorprone.annotations.MustBeClosed;
import io.llmc.formats.MemoryBudget;
import io.llmc.tensor.DType;
import io.llmc.tensor.Shape;
import io.llmc.tensor.Tensor;
import io.llmc.tensor.Weight;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.List;

/// One compute device: its memory, and the operations that run on it.
///
/// [#run] refuses an operand that lies elsewhere or whose arena was closed: see
/// [Op#requireOn(String)].
public interface Backend extends Runner, AutoCloseable {
    /// `cpu`, `cuda:0`, ...
    String device();

    /// Whether it computes in the host's memory, so that what lies there, in mapped files too,
    /// needs no copy.
    boolean sharesHostMemory();

    /// A slab of device memory, zeroed.
    ///
    /// @throws OutOfDeviceMemoryException where the device has less
    @MustBeClosed
    TensorArena newArena(long bytes);

    /// The devices that share the work, this one first.
    default List<Backend> group() {
        return List.of(this);
    }

    /// Whether it has a kernel for an operation; [#run] refuses any other.
    default boolean runs(Class<? extends Op> op) {
        return true;
    }

    /// Runs operations for a pass of a few rows through a whole model, once or twice: results have
    /// another order of sums than those of [#run], but always the same one.
    default Runner brief() {
        return this;
    }

    /// Copies a tensor that lies on another device of the group.
    default void receive(Tensor dst, Tensor src) {
        throw new IllegalArgumentException(src + " is not on " + device());
    }

    /// Bytes that arenas can still take of memory that is the device's own; 0 where it computes in
    /// the host's.
    default long room() {
        return 0;
    }

    /// The account of host memory: what this device computes in, where that is the host's, and the
    /// weights and copies beside it.
    default MemoryBudget host() {
        return MemoryBudget.NONE;
    }

    /// Bytes of [#host] that kernels hold beside arenas, at most, for a product of `rows` rows with
    /// a weight `[out, in]`.
    default long kernelBytes(long rows, long out, long in) {
        return 0;
    }

    /// Whether products of many rows with a weight gain by its being unpacked to F32 first.
    default boolean unpacks(Weight w) {
        return false;
    }

    /// Whether inputs and weights that are both 8-bit integers are multiplied as such, and not as
    /// the values that they stand for: the decoded weight is then not rounded to its scales' type.
    default boolean multipliesIntegers() {
        return false;
    }

    /// As [#kernelBytes], for the gradients of such a product.
    ///
    /// @param decodes whether the weight is stored otherwise than in F32
    default long gradientBytes(long rows, long out, long in, boolean decodes) {
        return 0;
    }

    /// `src` must be native memory: a mapped file or an arena, not a Java array.
    void upload(Tensor dst, MemorySegment src);

    /// Waits for pending operations, then copies to the host. The only call that waits.
    void download(MemorySegment dst, Tensor src);

    /// The elements of an F32 tensor.
    default float[] floats(Tensor t) {
        try (Arena host = host().newOwnArena()) {
            return download(t, host).toArray(ValueLayout.JAVA_FLOAT);
        }
    }

    /// The elements of an F64 tensor.
    default double[] doubles(Tensor t) {
        try (Arena host = host().newOwnArena()) {
            return download(t, host).toArray(ValueLayout.JAVA_DOUBLE);
        }
    }

    /// Reads all of an F32 matrix once, as fast as memory gives it, and waits for that: what a
    /// probe times.
    default void read(Tensor x) {
        try (TensorArena arena = newArena(4 * x.rows() + 1024)) {
            Tensor best = arena.allocate(DType.I32, new Shape(x.rows()));
            run(new LossOp.ArgMax(best, x));
            integer(best);
        }
    }

    /// The first element of an I32 tensor.
    default int integer(Tensor t) {
        try (Arena host = host().newOwnArena()) {
            return download(t, host).get(ValueLayout.JAVA_INT, 0);
        }
    }

    /// The elements of an F64 tensor, added up in their order.
    default double sum(Tensor t) {
        double sum = 0;
        for (double v : doubles(t)) {
            sum += v;
        }
        return sum;
    }

    /// The sum of the squares of a float tensor's elements, row by row.
    default double squares(Tensor t) {
        Tensor rows = t.shape().rank() == 2 ? t : t.reshape(1, t.shape().size());
        try (TensorArena arena = newArena(8 * rows.rows() + 1024)) {
            Tensor sums = arena.allocate(DType.F64, new Shape(rows.rows()));
            run(new StatisticOp.RowSquares(sums, rows));
            return sum(sums);
        }
    }

    private MemorySegment download(Tensor t, Arena host) {
        MemorySegment copy = host.allocate(t.byteSize(), 8);
        download(copy, t);
        return copy;
    }

    /// A weight whose tensors lie in host memory, or on another device of the group, as this device
    /// can multiply by it: itself where the device reads host memory, otherwise a copy in `arena`.
    Weight adopt(Weight host, TensorArena arena);

    /// As [#adopt(Weight, TensorArena)], for a norm's weight, a bias or an embedding.
    Tensor adopt(Tensor host, TensorArena arena);

    @Override
    void close();
}
