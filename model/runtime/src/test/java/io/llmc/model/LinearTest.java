// SPDX-License-Identifier: Apache-2.0
package io.llmc.model;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import io.llmc.backend.Backend;
import io.llmc.backend.BackendOptions;
import io.llmc.backend.BackendOptions.Compute;
import io.llmc.backend.ForwardOp;
import io.llmc.backend.GradientOp;
import io.llmc.backend.Op;
import io.llmc.backend.Runner;
import io.llmc.backend.TensorArena;
import io.llmc.backend.cpu.CpuBackend;
import io.llmc.tensor.ActivationScheme;
import io.llmc.tensor.Codes;
import io.llmc.tensor.DType;
import io.llmc.tensor.Encoding;
import io.llmc.tensor.InputRounding;
import io.llmc.tensor.Shape;
import io.llmc.tensor.Tensor;
import io.llmc.tensor.Tiles;
import io.llmc.tensor.Weight;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.ArrayList;
import java.util.List;
import java.util.Random;
import org.junit.jupiter.api.Test;
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

    @ParameterizedTest
    @ValueSource(booleans = {true, false})
    void integersAreMultipliedAsSuchWhereAskedFor(boolean symmetric) {
        var scheme = new ActivationScheme(new Codes.Ints(8, symmetric), Tiles.ROW, true);
        var rounding = InputRounding.dynamic(scheme);
        try (Backend backend = backend(Compute.INT8);
                Backend plain = backend(Compute.F32);
                TensorArena arena = backend.newArena(1 << 16)) {
            Tensor x = normal(arena, ROWS, IN);
            Weight.Grouped w = eightBits(arena);
            Tensor out = arena.allocate(DType.F32, new Shape(ROWS, OUT));
            List<Op> ran = new ArrayList<>();
            Runner both =
                    op -> {
                        ran.add(op);
                        backend.run(op);
                    };
            Forward f = new Forward(backend, both, arena, null, Tap.NONE, false);
            new Linear("l", w, null, rounding).forward(f, out, x);
            assertThat(ran).containsExactly(new ForwardOp.IntegerMatmul(out, x, rounding, w));

            Tensor decoded = arena.allocate(DType.F32, out.shape());
            Forward usual = new Forward(plain, arena, null);
            new Linear("l", w, null, rounding).forward(usual, decoded, x);
            Tensor rounded = arena.allocate(DType.F32, x.shape());
            Tensor want = arena.allocate(DType.F32, out.shape());
            backend.run(new ForwardOp.RoundActivations(rounded, x, rounding));
            backend.run(new ForwardOp.Matmul(want, rounded, w));
            assertThat(decoded.bytes().mismatch(want.bytes())).isEqualTo(-1);
            for (int i = 0; i < ROWS * OUT; i++) {
                assertThat(out.bytes().getAtIndex(ValueLayout.JAVA_FLOAT, i))
                        .isCloseTo(
                                want.bytes().getAtIndex(ValueLayout.JAVA_FLOAT, i), within(2e-3f));
            }
        }
    }

    /// The gradient of the product alone: rounding lets it through.
    @Test
    void integersLetGradientsThrough() {
        var scheme = new ActivationScheme(new Codes.Ints(8, true), Tiles.ROW, true);
        try (Backend backend = new CpuBackend(new BackendOptions(1, BackendOptions.Math.PORTABLE));
                TensorArena arena = backend.newArena(1 << 16)) {
            Tensor x = normal(arena, ROWS, IN);
            Weight.Grouped w = eightBits(arena);
            Tensor seed = normal(arena, ROWS, OUT);
            Tensor out = arena.allocate(DType.F32, new Shape(ROWS, OUT));
            Tape tape = new Tape(backend, arena, List.of(x));
            tape.run(new ForwardOp.IntegerMatmul(out, x, InputRounding.dynamic(scheme), w));
            backend.upload(tape.gradient(out), seed.bytes());
            tape.backward();

            Tensor want = arena.allocate(DType.F32, x.shape());
            backend.run(new ForwardOp.Zero(want));
            backend.run(new GradientOp.AccumulateMatmulInput(want, seed, w));
            assertThat(tape.gradient(x).bytes().mismatch(want.bytes())).isEqualTo(-1);
        }
    }

    /// Where rows share scales, too, and where they share them with others before the first.
    @Test
    void someOutputsAreThoseOfTheWholeLayer() {
        try (Backend backend = new CpuBackend(new BackendOptions(1, BackendOptions.Math.PORTABLE));
                TensorArena arena = backend.newArena(1 << 18)) {
            Tensor x = normal(arena, ROWS, IN);
            Tensor bias = normal(arena, 1, OUT).reshape(OUT);
            Forward f = new Forward(backend, arena, null);
            Weight dense = new Weight.Dense(normal(arena, OUT, IN));
            for (Weight w : List.of(dense, eightBits(arena), blocks(arena, 5))) {
                var linear = new Linear("l", w, bias, null);
                Tensor all = f.allocate(ROWS, OUT);
                linear.forward(f, all, x);
                for (int from : new int[] {0, 3, 5, OUT - 4}) {
                    Tensor some = f.allocate(ROWS, 4);
                    linear.forward(f, some, x, from);
                    assertThat(backend.floats(some))
                            .as("%s from %d", w.encoding().describe(), from)
                            .containsExactly(backend.floats(f.columns(all, from, 4)));
                }
            }
        }
    }

    /// @param rows of a tile
    private Weight.Scaled blocks(TensorArena arena, int rows) {
        Tensor codes = arena.allocate(DType.F8_E4M3, new Shape(OUT, IN));
        for (int i = 0; i < OUT * IN; i++) {
            codes.bytes().set(ValueLayout.JAVA_BYTE, i, (byte) random.nextInt(0x70));
        }
        var tiles = new Tiles(rows, 16);
        return new Weight.Scaled(
                new Encoding.Grid<>(Codes.Floats.E4M3, tiles),
                codes,
                normal(arena, (int) tiles.down(OUT), (int) tiles.across(IN)));
    }

    private static Backend backend(Compute compute) {
        return new CpuBackend(
                new BackendOptions(1, BackendOptions.Math.PORTABLE, Long.MAX_VALUE, compute));
    }

    private Weight.Grouped eightBits(TensorArena arena) {
        Tensor codes = arena.allocate(DType.I32, new Shape(OUT, IN / 4));
        byte[] bytes = new byte[OUT * IN];
        random.nextBytes(bytes);
        codes.bytes().copyFrom(MemorySegment.ofArray(bytes));
        Tensor scales = arena.allocate(DType.F32, new Shape(OUT, 1));
        for (int i = 0; i < OUT; i++) {
            scales.bytes().setAtIndex(ValueLayout.JAVA_FLOAT, i, 0.01f * (1 + i));
        }
        Tensor zeros = arena.allocate(DType.U8, new Shape(OUT, 1));
        zeros.bytes().fill((byte) 128);
        return new Weight.Grouped(
                Encoding.ints(8, Tiles.ALL, true), IN, codes, scales, zeros, null);
    }

    private Tensor normal(TensorArena arena, int rows, int cols) {
        Tensor t = arena.allocate(DType.F32, new Shape(rows, cols));
        for (int i = 0; i < rows * cols; i++) {
            t.bytes().setAtIndex(ValueLayout.JAVA_FLOAT, i, (float) random.nextGaussian());
        }
        return t;
    }
}
