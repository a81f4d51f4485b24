// SPDX-License-Identifier: Apache-2.0
package io.llmc.gpu;

import io.llmc.backend.OutOfDeviceMemoryException;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import java.util.Optional;

/// A device's memory below a cap. Pieces that come back are kept for the next that asks for about
/// as much: an allocation waits for all work on the device, a kept one does not.
final class DeviceMemory {
    /// A kept piece may be this much larger than what is asked for.
    private static final double SLACK = 1.25;

    private static final long GRAIN = 1 << 16;

    private final Gpu gpu;
    private final long capacity;
    private final List<Allocation> kept = new ArrayList<>();
    private long used;

    /// @param capacity bytes at most
    DeviceMemory(Gpu gpu, long capacity) {
        this.gpu = gpu;
        this.capacity = capacity;
    }

    /// Bytes that can still be taken.
    long room() {
        return capacity - used + kept.stream().mapToLong(a -> a.bytes).sum();
    }

    /// @throws OutOfDeviceMemoryException where the cap or the device has less, with nothing kept
    Allocation take(long bytes) {
        long wanted = Math.max(GRAIN, Math.ceilDiv(bytes, GRAIN) * GRAIN);
        Optional<Allocation> fits =
                kept.stream()
                        .filter(a -> a.bytes >= wanted && a.bytes <= SLACK * wanted)
                        .min(Comparator.comparingLong(a -> a.bytes));
        if (fits.isPresent()) {
            kept.remove(fits.get());
            return fits.get();
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
