// SPDX-License-Identifier: Apache-2.0
package io.llmc.backend.cpu;

import io.llmc.formats.MemoryBudget;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;

/// One worker's buffers, kept between tiles so that kernels allocate nothing. What they hold at
/// first is undefined.
final class Scratch implements AutoCloseable {
    private final float[][] floats = new float[13][0];
    private final double[][] doubles = new double[4][0];
    private byte[] octets = new byte[0];
    private int[] words = new int[0];
    private long[] longs = new long[0];
    private final MemorySegment[] segments = new MemorySegment[4];
    private final Arena[] arenas = new Arena[4];
    private final MemoryBudget budget;

    Scratch(MemoryBudget budget) {
        this.budget = budget;
    }

    /// At least `length` floats; a slot's earlier array is lost.
    float[] floats(int slot, int length) {
        if (floats[slot].length < length) {
            floats[slot] = new float[length];
        }
        return floats[slot];
    }

    byte[] octets(int length) {
        if (octets.length < length) {
            octets = new byte[length];
        }
        return octets;
    }

    int[] words(int length) {
        if (words.length < length) {
            words = new int[length];
        }
        return words;
    }

    long[] longs(int length) {
        if (longs.length < length) {
            longs = new long[length];
        }
        return longs;
    }

    double[] doubles(int slot, int length) {
        if (doubles[slot].length < length) {
            doubles[slot] = new double[length];
        }
        return doubles[slot];
    }

    /// Native memory of at least `length` bytes, for libraries.
    @SuppressWarnings("MustBeClosed") // closed by the next one, or by close()
    MemorySegment bytes(int slot, long length) {
        if (segments[slot] == null || segments[slot].byteSize() < length) {
            free(slot);
            arenas[slot] = budget.newArena();
            segments[slot] = arenas[slot].allocate(length, 64);
        }
        return segments[slot];
    }

    private void free(int slot) {
        if (arenas[slot] != null) {
            arenas[slot].close();
            arenas[slot] = null;
            segments[slot] = null;
        }
    }

    @Override
    public void close() {
        for (int slot = 0; slot < arenas.length; slot++) {
            free(slot);
        }
    }
}
