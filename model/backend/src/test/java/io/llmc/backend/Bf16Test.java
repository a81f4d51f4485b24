// SPDX-License-Identifier: Apache-2.0
package io.llmc.backend;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import io.llmc.backend.BackendOptions.Compute;
import io.llmc.backend.BackendOptions.Math;
import io.llmc.backend.cpu.CpuBackend;
import io.llmc.formats.UserException;
import io.llmc.tensor.DType;
import io.llmc.tensor.Encoding;
import io.llmc.tensor.Tensor;
import io.llmc.tensor.Weight;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;

/// Products of activations that are rounded to bf16, on CPUs that have instructions for it.
class Bf16Test {
    private static final int IN = 257;
    private static final int OUT = 613;
    private static final int ROWS = 141;

    @BeforeAll
    static void instructions() {
        try (Backend backend = new CpuBackend(options(1))) {
            assertThat(backend).isNotNull();
        } catch (UserException e) {
            assumeTrue(false, e.getMessage());
        }
    }

    private static BackendOptions options(int threads) {
        return new BackendOptions(threads, Math.AUTO, Long.MAX_VALUE, Compute.BF16);
    }

    private static Weight dense(Operands a) {
        return a.dense(DType.BF16, OUT, IN);
    }

    private static Weight packed(Operands a) {
        return a.packed(Encoding.ints(4, 32, false), DType.BF16, false, OUT, IN);
    }

    private static MemorySegment product(
            BackendOptions options, OpCases.MakeWeight make, int from, int to) {
        try (Backend backend = new CpuBackend(options);
                TensorArena arena = backend.newArena(Agreement.SLAB)) {
            var operands = new Operands(backend, arena, 7);
            Weight w = make.make(operands, OUT, IN);
            Tensor x = operands.normal(ROWS, IN).rows(from, to);
            Tensor out = operands.out(to - from, OUT);
            backend.run(new ForwardOp.Matmul(out, x, w));
            operands.assertGuardsAreWhole();
            return operands.download(out);
        }
    }

    private static void compare(OpCases.MakeWeight make) {
        var exact = new BackendOptions(2, Math.PORTABLE);
        MemorySegment want = product(exact, make, 0, ROWS);
        MemorySegment got = product(options(2), make, 0, ROWS);
        assertRoundedOnce(got, want.asSlice(0, got.byteSize()));
        MemorySegment few = product(options(2), make, 11, 11 + 8);
        assertRoundedOnce(few, want.asSlice(4L * 11 * OUT, few.byteSize()));
        for (int threads : new int[] {1, 3}) {
            assertThat(product(options(threads), make, 0, ROWS).mismatch(got)).isEqualTo(-1);
        }
        for (int rows : new int[] {1, 3, 9, 64, 65}) {
            MemorySegment all = rows <= 8 ? few : got.asSlice(4L * 11 * OUT);
            assertThat(
                            product(options(2), make, 11, 11 + rows)
                                    .mismatch(all.asSlice(0, 4L * rows * OUT)))
                    .as("%d rows", rows)
                    .isEqualTo(-1);
        }
    }

    /// A rounding to 8 bits of each activation, and nothing else.
    private static void assertRoundedOnce(MemorySegment got, MemorySegment want) {
        double error = 0;
        double norm = 0;
        for (long i = 0; i < want.byteSize() / 4; i++) {
            double w = want.getAtIndex(ValueLayout.JAVA_FLOAT, i);
            double g = got.getAtIndex(ValueLayout.JAVA_FLOAT, i);
            error += (g - w) * (g - w);
            norm += w * w;
        }
        assertThat(error / norm).isBetween(1e-7, 1e-5);
    }

    @Test
    void activationsAreRoundedAndNothingElse() {
        compare((a, _, _) -> dense(a));
    }

    @Test
    void packedWeightsOfBf16ScalesToo() {
        compare((a, _, _) -> packed(a));
    }

    @Test
    void weightsThatBf16DoesNotHoldAreMultipliedInF32() {
        OpCases.MakeWeight f16 = (a, _, _) -> a.dense(DType.F16, OUT, IN);
        MemorySegment exact = product(new BackendOptions(2, Math.AUTO), f16, 0, ROWS);
        assertThat(product(options(2), f16, 0, ROWS).mismatch(exact)).isEqualTo(-1);
    }

    @Test
    void thePortableKernelsRefuse() {
        var options = new BackendOptions(1, Math.PORTABLE, Long.MAX_VALUE, Compute.BF16);
        assertThatThrownBy(() -> new CpuBackend(options).close())
                .isInstanceOf(UserException.class)
                .hasMessageContaining("{compute} bf16");
    }
}
