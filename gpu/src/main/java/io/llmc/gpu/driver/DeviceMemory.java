// SPDX-License-Identifier: Apache-2.0
package io.llmc.gpu.driver;

import io.llmc.backend.OutOfDeviceMemoryException;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import java.util.Optional;

/// A device's memory below a cap. Pieces that come back are kept for the next that asks for about
/// as much: an allocation waits for all work on the device, a kept one does not.
public final class DeviceMemory {
    /// A kept piece may be this much larger than what is asked for.
    private static final double SLACK = 1.25;

    private static final long GRAIN = 1 << 16;

    /// Where a slab of this size is still in use by work on its way, another is allocated beside
    /// it, once, so that uploads to the next do not wait for it: the weights of two blocks.
    private static final long LARGE = 16 << 20;

    private final Gpu gpu;
    private final long capacity;
    private final List<Allocation> kept = new ArrayList<>();
    private long used;

    /// @param capacity bytes at most
    DeviceMemory(Gpu gpu, long capacity) {
        this.gpu = gpu;
        this.capacity = capacity;
    }

    /// Bytes taken from the device, the kept ones among them.
    long used() {
        return used;
    }

    /// Bytes that can still be taken.
    public long room() {
        return capacity - used + kept.stream().mapToLong(a -> a.bytes).sum();
    }

    /// A piece for whatever comes after the work that is on its way.
    ///
    /// @throws OutOfDeviceMemoryException where the cap or the device has less, with nothing kept
    Allocation take(long bytes) {
        return take(rounded(bytes), fitting(rounded(bytes)));
    }

    /// A piece for uploads, which need not wait for that work where another piece is free of it.
    Allocation takeIdle(long bytes) {
        long wanted = rounded(bytes);
        List<Allocation> fits = fitting(wanted);
        List<Allocation> idle = fits.stream().filter(gpu::isIdle).toList();
        boolean beside = fits.size() == 1 && wanted >= LARGE && used + wanted <= capacity;
        return take(wanted, idle.isEmpty() && !beside ? fits : idle);
    }

    private static long rounded(long bytes) {
        return Math.max(GRAIN, Math.ceilDiv(bytes, GRAIN) * GRAIN);
    }

    /// The smallest first.
    private List<Allocation> fitting(long wanted) {
        return kept.stream()
                .filter(a -> a.bytes >= wanted && a.bytes <= SLACK * wanted)
                .sorted(Comparator.comparingLong(a -> a.bytes))
                .toList();
    }

    private Allocation take(long wanted, List<Allocation> fits) {
        if (!fits.isEmpty()) {
            kept.remove(fits.getFirst());
            return fits.getFirst();
        }
        if (used + wanted > capacity) {
            freeKept();
        }
        Optional<Allocation> fresh = used + wanted > capacity ? Optional.empty() : allocate(wanted);
        if (fresh.isEmpty() && !kept.isEmpty()) {
            freeKept();
            fresh = allocate(wanted);
        }
        return fresh.orElseThrow(() ->
                new OutOfDeviceMemoryException(gpu.device(), wanted, capacity - used, capacity));
    }

    private Optional<Allocation> allocate(long bytes) {
        Optional<Allocation> a = gpu.allocate(bytes);
        a.ifPresent(_ -> used += bytes);
        return a;
    }

    /// The piece may be taken again at once: what uses it now runs before what will.
    void giveBack(Allocation a) {
        kept.add(a);
    }

    void freeKept() {
        for (Allocation a : kept) {
            gpu.free(a);
            used -= a.bytes;
        }
        kept.clear();
    }
}
