// SPDX-License-Identifier: Apache-2.0
package io.llmc.model;

import static org.assertj.core.api.Assertions.assertThat;

import io.llmc.backend.Backend;
import io.llmc.backend.BackendOptions;
import io.llmc.backend.ForwardOp;
import io.llmc.backend.TensorArena;
import io.llmc.backend.cpu.CpuBackend;
import io.llmc.tensor.ActivationScheme;
import io.llmc.tensor.Codes;
import io.llmc.tensor.DType;
import io.llmc.tensor.InputRounding;
import io.llmc.tensor.Shape;
import io.llmc.tensor.Tensor;
import io.llmc.tensor.Tiles;
import io.llmc.tensor.Weight;
import java.lang.foreign.ValueLayout;
import java.util.Random;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class LinearTest {
    private static final int ROWS = 5;
    private static final int IN = 40;
    private static final int OUT = 12;

    private final Random random = new Random(1);

    @ParameterizedTest
    @ValueSource(booleans = {true, false})
    void inputsAreRoundedBeforeTheProduct(boolean dynamic) {
        var scheme =
                new ActivationScheme(
                        Codes.Floats.E4M3, dynamic ? Tiles.ROW : Tiles.TENSOR, dynamic);
        try (Backend backend = new CpuBackend(new BackendOptions(1, BackendOptions.Math.PORTABLE));
                TensorArena arena = backend.newArena(1 << 16)) {
            Tensor x = normal(arena, ROWS, IN);
            Tensor scale = dynamic ? null : normal(arena, 1, 1).reshape(1);
            Weight w = new Weight.Dense(normal(arena, OUT, IN));
            Tensor bias = normal(arena, 1, OUT).reshape(OUT);
            Tensor out = arena.allocate(DType.F32, new Shape(ROWS, OUT));
            var rounding = new InputRounding(scheme, scale);
            var linear = new Linear("l", w, bias, rounding);
            linear.forward(new Forward(backend, arena, null), out, x);

            Tensor rounded = arena.allocate(DType.F32, x.shape());
            Tensor product = arena.allocate(DType.F32, out.shape());
            Tensor want = arena.allocate(DType.F32, out.shape());
            backend.run(new ForwardOp.RoundActivations(rounded, x, rounding));
            backend.run(new ForwardOp.Matmul(product, rounded, w));
            backend.run(new ForwardOp.AddRow(want, product, bias));
            assertThat(out.bytes().mismatch(want.bytes())).isEqualTo(-1);
            assertThat(rounded.bytes().mismatch(x.bytes())).isNotEqualTo(-1);
        }
    }

    private Tensor normal(TensorArena arena, int rows, int cols) {
        Tensor t = arena.allocate(DType.F32, new Shape(rows, cols));
        for (int i = 0; i < rows * cols; i++) {
            t.bytes().setAtIndex(ValueLayout.JAVA_FLOAT, i, (float) random.nextGaussian());
        }
        return t;
    }
}
