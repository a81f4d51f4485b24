// SPDX-License-Identifier: Apache-2.0
package io.llmc.backend.bench;

import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.VectorSpecies;
import org.openjdk.jmh.annotations.Scope;
import org.openjdk.jmh.annotations.State;

/// What one processor can do at most: the roofs that kernels are compared with.
public final class Limits {
    private static final VectorSpecies<Float> SPECIES = FloatVector.SPECIES_PREFERRED;
    private static final int STEPS = 100_000;
    private static final int LENGTH = 1 << 24;

    /// Operations of one [Registers#run].
    static final double FLOPS = 2.0 * 10 * SPECIES.length() * STEPS;

    /// Bytes that one [Arrays#run] moves: two reads and a write.
    static final double BYTES = 3.0 * 4 * LENGTH;

    private Limits() {}

    /// Ten chains of multiply-adds, enough to hide their latency on two units.
    @State(Scope.Thread)
    public static class Registers {
        private float factor = 0.999f;

        float run() {
            FloatVector f = FloatVector.broadcast(SPECIES, factor);
            FloatVector a = f;
            FloatVector b = f;
            FloatVector c = f;
            FloatVector d = f;
            FloatVector e = f;
            FloatVector g = f;
            FloatVector h = f;
            FloatVector i = f;
            FloatVector j = f;
            FloatVector k = f;
            for (int step = 0; step < STEPS; step++) {
                a = a.fma(f, f);
                b = b.fma(f, f);
                c = c.fma(f, f);
                d = d.fma(f, f);
                e = e.fma(f, f);
                g = g.fma(f, f);
                h = h.fma(f, f);
                i = i.fma(f, f);
                j = j.fma(f, f);
                k = k.fma(f, f);
            }
            FloatVector sum = a.add(b).add(c).add(d).add(e).add(g).add(h).add(i).add(j).add(k);
            return sum.lane(0);
        }
    }

    /// `x = y + 3 z`
    @State(Scope.Thread)
    public static class Arrays {
        private final float[] x = new float[LENGTH];
        private final float[] y = new float[LENGTH];
        private final float[] z = new float[LENGTH];

        void run() {
            for (int i = 0; i < LENGTH; i++) {
                x[i] = y[i] + 3 * z[i];
            }
        }
    }
}
