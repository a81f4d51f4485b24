// SPDX-License-Identifier: Apache-2.0
package io.llmc.pipeline.generation;

/// Numbers that a seed stands for, on any machine and for ever: SplitMix64 (Steele, Lea and Flood,
/// "Fast splittable pseudorandom number generators", 2014).
///
/// Every sequence of a batch has a stream of its own, so that what it becomes depends neither on
/// the others nor on when it is its turn.
public final class Draws {
    private static final long STEP = 0x9e3779b97f4a7c15L;
    private static final double UNIT = 0x1p-53;

    private long state;

    /// @param seed of the whole run
    /// @param stream number of the sequence in it
    public Draws(long seed, long stream) {
        state = derived(seed, stream);
    }

    /// A seed of its own for a part of what a seed stands for.
    static long derived(long seed, long part) {
        return mixed(mixed(seed) + part * STEP);
    }

    /// In `[0, 1)`, of 53 random bits.
    public double next() {
        state += STEP;
        return (mixed(state) >>> 11) * UNIT;
    }

    private static long mixed(long z) {
        z = (z ^ (z >>> 30)) * 0xbf58476d1ce4e5b9L;
        z = (z ^ (z >>> 27)) * 0x94d049bb133111ebL;
        return z ^ (z >>> 31);
    }
}
