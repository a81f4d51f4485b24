// SPDX-License-Identifier: Apache-2.0
package io.llmc.formats.compressed;

import io.llmc.formats.Dequantizer;
import io.llmc.formats.Fixture;
import io.llmc.formats.Json;
import io.llmc.formats.Solver;
import io.llmc.formats.checkpoint.Layouts;
import io.llmc.formats.checkpoint.QuantPlan;
import io.llmc.formats.checkpoint.WeightLayout;
import io.llmc.tensor.ActivationScheme;
import io.llmc.tensor.CacheScheme;
import io.llmc.tensor.Codes;
import io.llmc.tensor.DType;
import io.llmc.tensor.Encoding;
import io.llmc.tensor.Floats;
import io.llmc.tensor.InputRounding;
import io.llmc.tensor.ScaleKind;
import io.llmc.tensor.Scheme;
import io.llmc.tensor.Schemes;
import io.llmc.tensor.Tensor;
import io.llmc.tensor.Tiles;
import io.llmc.tensor.Weight;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.lang.foreign.ValueLayout;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Random;
import java.util.SequencedMap;
import java.util.Set;
import java.util.stream.Stream;

/// A layer of random codes in a scheme, and a model that has no other.
///
/// @param rounding null where inputs stay as they are
public record Packed(Scheme scheme, Weight weight, InputRounding rounding) {
    public static final String LINEAR = "model.layers.0.mlp.up_proj";

    private static final Encoding.Grid<Codes.Floats> NVFP4 =
            new Encoding.Grid<>(Codes.Floats.E2M1, Tiles.groups(16), ScaleKind.NESTED);

    /// One of each kind.
    public static List<Scheme> schemes() {
        Codes.Ints bytes = new Codes.Ints(8, true);
        ActivationScheme floats = new ActivationScheme(Codes.Floats.E4M3, Tiles.ROW, true);
        Encoding.Grid<Codes.Ints> rows = Encoding.ints(8, Tiles.ALL, true);
        return Stream.of(
                        Scheme.of(Encoding.ints(4, 16, true)),
                        Scheme.of(Encoding.ints(5, 16, false)),
                        Scheme.of(Encoding.ints(3, Tiles.ALL, false)),
                        with(rows, new ActivationScheme(bytes, Tiles.ROW, true)),
                        with(rows, new ActivationScheme(bytes, Tiles.TENSOR, false)),
                        with(
                                Encoding.ints(8, Tiles.ALL, false),
                                new ActivationScheme(
                                        new Codes.Ints(8, false), Tiles.TENSOR, false)),
                        with(
                                new Encoding.Grid<>(bytes, Tiles.TENSOR),
                                new ActivationScheme(bytes, Tiles.ROW, true)),
                        with(
                                Encoding.ints(4, 16, false),
                                new ActivationScheme(bytes, Tiles.ROW, true)),
                        with(Encoding.ints(4, 16, true), floats),
                        Scheme.of(new Encoding.Grid<>(Codes.Floats.E4M3, Tiles.ROW)),
                        with(new Encoding.Grid<>(Codes.Floats.E4M3, Tiles.ROW), floats),
                        with(
                                new Encoding.Grid<>(Codes.Floats.E4M3, Tiles.TENSOR),
                                new ActivationScheme(Codes.Floats.E4M3, Tiles.TENSOR, false)),
                        with(
                                new Encoding.Grid<>(Codes.Floats.E4M3, new Tiles(4, 32)),
                                new ActivationScheme(Codes.Floats.E4M3, Tiles.groups(32), true)),
                        Scheme.of(NVFP4),
                        with(NVFP4, new ActivationScheme(NVFP4, true)),
                        Scheme.of(mx(Codes.Floats.E2M1)),
                        with(
                                mx(Codes.Floats.E2M1),
                                new ActivationScheme(mx(Codes.Floats.E2M1), true)),
                        Scheme.of(mx(Codes.Floats.E4M3)),
                        with(
                                mx(Codes.Floats.E4M3),
                                new ActivationScheme(mx(Codes.Floats.E4M3), true)))
                .toList();
    }

    private static Encoding.Grid<Codes.Floats> mx(Codes.Floats codes) {
        return new Encoding.Grid<>(codes, Tiles.groups(32), ScaleKind.POWER);
    }

    private static Scheme with(Encoding weights, ActivationScheme inputs) {
        return new Scheme(weights, Optional.of(inputs));
    }

    /// @param out, in at will; an even number of inputs
    public static Packed random(Arena memory, Random random, Scheme scheme, long out, int in) {
        Encoding.Grid<?> grid = (Encoding.Grid<?>) scheme.weights();
        Weight weight =
                switch (grid.codes()) {
                    case Codes.Ints ints -> integers(memory, random, ints, grid.tiles(), out, in);
                    case Codes.Floats floats ->
                            floats(
                                    memory,
                                    random,
                                    new Encoding.Grid<>(floats, grid.tiles(), grid.scales()),
                                    out,
                                    in);
                };
        return new Packed(
                scheme, weight, scheme.inputs().map(i -> rounding(memory, i)).orElse(null));
    }

    private static Weight integers(
            Arena memory, Random random, Codes.Ints codes, Tiles tiles, long out, int in) {
        Encoding.Grid<Codes.Ints> grid = new Encoding.Grid<>(codes, tiles);
        Weight.Grouped w = Fixture.weight(memory, random, grid, out, in, DType.BF16, false, 0);
        if (tiles.equals(Tiles.TENSOR)) {
            for (long o = 0; o < out; o++) {
                Floats.set(w.scales().bytes(), DType.BF16, o, 0.03f);
            }
        }
        return w;
    }

    private static Weight floats(
            Arena memory, Random random, Encoding.Grid<Codes.Floats> grid, long out, int in) {
        boolean halves = grid.codes().equals(Codes.Floats.E2M1);
        Tensor codes =
                Dequantizer.allocate(
                        memory, halves ? DType.U8 : DType.F8_E4M3, out, halves ? in / 2 : in);
        for (long i = 0; i < codes.byteSize(); i++) {
            codes.bytes().set(ValueLayout.JAVA_BYTE, i, (byte) random.nextInt(127));
        }
        DType type =
                switch (grid.scales()) {
                    case FLOAT -> DType.BF16;
                    case POWER -> DType.U8;
                    case NESTED -> DType.F8_E4M3;
                };
        Tensor scales =
                Dequantizer.allocate(memory, type, grid.tiles().down(out), grid.tiles().across(in));
        for (long i = 0; i < scales.shape().size(); i++) {
            if (type == DType.BF16) {
                Floats.set(scales.bytes(), type, i, 0.001f + random.nextFloat() / 10);
            } else {
                scales.bytes().set(ValueLayout.JAVA_BYTE, i, (byte) (1 + random.nextInt(125)));
            }
        }
        Tensor global = grid.scales() == ScaleKind.NESTED ? number(memory, DType.F32, 3) : null;
        return new Weight.Scaled(grid, codes, scales, global);
    }

    private static InputRounding rounding(Arena memory, ActivationScheme scheme) {
        if (!scheme.calibrated()) {
            return InputRounding.dynamic(scheme);
        }
        boolean nested = scheme.grid().scales() == ScaleKind.NESTED;
        Tensor scale = number(memory, nested ? DType.F32 : DType.BF16, 0.5f);
        Tensor zero = null;
        if (scheme.codes() instanceof Codes.Ints ints && !ints.symmetric()) {
            zero = Dequantizer.allocate(memory, DType.I8, 1);
            zero.bytes().set(ValueLayout.JAVA_BYTE, 0, (byte) -7);
        }
        return new InputRounding(scheme, scale, zero);
    }

    private static Tensor number(Arena memory, DType type, float value) {
        Tensor number = Dequantizer.allocate(memory, type, 1);
        Floats.set(number.bytes(), type, 0, value);
        return number;
    }

    /// As a layout writes it.
    public SequencedMap<String, Tensor> tensors(Arena memory) {
        WeightLayout layout = Layouts.named("compressed-tensors");
        SequencedMap<String, Tensor> tensors =
                new LinkedHashMap<>(layout.encode(LINEAR, weight, scheme, DType.BF16, memory));
        if (rounding != null) {
            tensors.putAll(layout.encode(LINEAR, rounding, memory));
        }
        return tensors;
    }

    /// A model directory with these tensors instead of the layer's own.
    public Path save(Path directory, Map<String, Tensor> tensors) throws IOException {
        SequencedMap<String, Scheme> schemes = new LinkedHashMap<>();
        schemes.put(LINEAR, scheme);
        QuantPlan plan =
                new QuantPlan(
                        new Schemes(schemes, Optional.of(new CacheScheme(Codes.Floats.E4M3, true))),
                        List.of(
                                new QuantPlan.Solved(
                                        new Solver("rtn", 0, Solver.Order.STORED, false, false),
                                        Set.of(LINEAR))),
                        List.of("lm_head"),
                        "llama",
                        false);
        var config = Json.object().put("model_type", "llama");
        Layouts.named("compressed-tensors")
                .quantizationConfig(plan, "1")
                .ifPresent(q -> config.set("quantization_config", q));
        return Fixture.model(directory, config.toString(), tensors);
    }
}
