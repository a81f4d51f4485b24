// SPDX-License-Identifier: Apache-2.0
package io.llmc.backend;

import io.llmc.tensor.DType;
import io.llmc.tensor.HostBuffer;
import io.llmc.tensor.Tensor;
import java.lang.foreign.MemorySegment;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;

/// Whether a backend does in a case what [ReferenceOps] does. Needs no test library, so that it
/// runs on machines that have none.
public final class Agreement {
    static final long SEED = 42;
    static final long SLAB = 1 << 24;

    private Agreement() {}

    /// Runs a case on the backend and compares it with the reference.
    ///
    /// @return the bytes of its outputs
    /// @throws AssertionError that names what differs
    public static List<MemorySegment> check(OpCases.Case c, Backend backend) {
        var reference = new Operands(null, null, SEED);
        new ReferenceOps().run(c.build().apply(reference));
        try (TensorArena arena = backend.newArena(SLAB)) {
            var operands = new Operands(backend, arena, SEED);
            backend.run(c.build().apply(operands));
            operands.assertGuardsAreWhole();
            List<MemorySegment> bytes = outputs(operands);
            for (int i = 0; i < bytes.size(); i++) {
                Tensor want = reference.outputs().get(i);
                Tensor got = operands.outputs().get(i);
                assertClose(
                        c.name() + ": output " + i,
                        c.bound(),
                        want,
                        new Tensor(new HostBuffer(bytes.get(i)), 0, got.dtype(), got.shape()));
            }
            return bytes;
        }
    }

    /// The bytes of a case's outputs, compared with nothing.
    public static List<MemorySegment> bytes(OpCases.Case c, Backend backend) {
        try (TensorArena arena = backend.newArena(SLAB)) {
            var operands = new Operands(backend, arena, SEED);
            backend.run(c.build().apply(operands));
            return outputs(operands);
        }
    }

    private static List<MemorySegment> outputs(Operands operands) {
        List<MemorySegment> bytes = new ArrayList<>();
        for (Tensor t : operands.outputs()) {
            bytes.add(operands.download(t));
        }
        return bytes;
    }

    /// @throws AssertionError that names the first byte that differs
    public static void assertSame(String what, MemorySegment got, MemorySegment want) {
        long at = got.mismatch(want);
        if (at >= 0) {
            throw new AssertionError(
                    "%s: byte %,d of %,d differs".formatted(what, at, want.byteSize()));
        }
    }

    /// Normalised mean squared error, as llama.cpp's test-backend-ops has it; where the reference
    /// is not finite the other must be the same.
    ///
    /// @param bound 0 for the same numbers, as integers have them always
    static void assertClose(String what, double bound, Tensor want, Tensor got) {
        double error = 0;
        double norm = 0;
        for (long i = 0; i < want.shape().size(); i++) {
            double w = ReferenceOps.get(want, i);
            double g = ReferenceOps.get(got, i);
            if (Double.isFinite(w)) {
                error += (w - g) * (w - g);
                norm += w * w;
            } else if (Double.compare(g, w) != 0) {
                throw new AssertionError(
                        "%s[%d] is %s, not %s, seed %d".formatted(what, i, g, w, SEED));
            }
        }
        double nmse = norm == 0 ? error : error / norm;
        double most = want.dtype() == DType.I32 ? 0 : bound;
        // A NaN is above every bound.
        if (!(nmse <= most)) {
            throw new AssertionError(
                    String.format(
                            Locale.ROOT,
                            "the NMSE of %s is %.3g, not at most %.3g, seed %d",
                            what,
                            nmse,
                            most,
                            SEED));
        }
    }
}
