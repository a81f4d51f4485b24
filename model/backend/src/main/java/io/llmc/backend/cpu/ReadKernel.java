// SPDX-License-Identifier: Apache-2.0
package io.llmc.backend.cpu;

import io.llmc.tensor.Tensor;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.ByteOrder;
import java.util.concurrent.atomic.AtomicLong;
import jdk.incubator.vector.LongVector;
import jdk.incubator.vector.VectorOperators;
import jdk.incubator.vector.VectorSpecies;

/// Reads memory and does next to nothing with it.
final class ReadKernel {
    private static final VectorSpecies<Long> L = LongVector.SPECIES_PREFERRED;

    /// Bytes of a tile: many more than a core reads ahead, few enough that no core waits for
    /// another's last one.
    private static final long TILE = 1 << 20;

    private final Workers workers;

    ReadKernel(Workers workers) {
        this.workers = workers;
    }

    /// The exclusive or of all whole 64-bit words.
    long fold(Tensor x) {
        MemorySegment bytes = x.bytes();
        AtomicLong all = new AtomicLong();
        long tiles = Math.ceilDiv(bytes.byteSize(), TILE);
        workers.forEach(
                Math.toIntExact(tiles),
                tile -> {
                    long from = tile * TILE;
                    long end = Math.min(bytes.byteSize(), from + TILE);
                    long folded = fold(bytes, from, end);
                    all.accumulateAndGet(folded, (a, b) -> a ^ b);
                });
        return all.get();
    }

    private static long fold(MemorySegment bytes, long from, long end) {
        ByteOrder order = ByteOrder.nativeOrder();
        int step = L.vectorByteSize();
        LongVector a = LongVector.zero(L);
        LongVector b = a;
        LongVector c = a;
        LongVector d = a;
        long i = from;
        for (; i + 4L * step <= end; i += 4L * step) {
            a = a.lanewise(VectorOperators.XOR, LongVector.fromMemorySegment(L, bytes, i, order));
            b =
                    b.lanewise(
                            VectorOperators.XOR,
                            LongVector.fromMemorySegment(L, bytes, i + step, order));
            c =
                    c.lanewise(
                            VectorOperators.XOR,
                            LongVector.fromMemorySegment(L, bytes, i + 2L * step, order));
            d =
                    d.lanewise(
                            VectorOperators.XOR,
                            LongVector.fromMemorySegment(L, bytes, i + 3L * step, order));
        }
        long folded =
                a.lanewise(VectorOperators.XOR, b)
                        .lanewise(VectorOperators.XOR, c.lanewise(VectorOperators.XOR, d))
                        .reduceLanes(VectorOperators.XOR);
        for (; i + 8 <= end; i += 8) {
            folded ^= bytes.get(ValueLayout.JAVA_LONG_UNALIGNED, i);
        }
        return folded;
    }
}
