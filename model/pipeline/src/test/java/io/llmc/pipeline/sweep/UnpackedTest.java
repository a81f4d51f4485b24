// SPDX-License-Identifier: Apache-2.0
package io.llmc.pipeline.sweep;

import static org.assertj.core.api.Assertions.assertThat;

import io.llmc.backend.Backend;
import io.llmc.backend.BackendOptions;
import io.llmc.backend.CompressionOp;
import io.llmc.backend.TensorArena;
import io.llmc.backend.cpu.CpuBackend;
import io.llmc.formats.Fixture;
import io.llmc.model.Forward;
import io.llmc.model.KvCache;
import io.llmc.model.Linear;
import io.llmc.model.Stage;
import io.llmc.tensor.Codes;
import io.llmc.tensor.DType;
import io.llmc.tensor.Encoding;
import io.llmc.tensor.Shape;
import io.llmc.tensor.Tensor;
import io.llmc.tensor.Tiles;
import io.llmc.tensor.Weight;
import java.lang.foreign.Arena;
import java.util.List;
import java.util.Optional;
import java.util.Random;
import org.junit.jupiter.api.Test;

/// Weights are plain while sequences pass, and packed again behind them.
class UnpackedTest {
    private final Arena memory = Arena.ofAuto();

    private record Layers(Linear layer, boolean routed) implements Stage {
        @Override
        public List<List<Linear>> groups() {
            return List.of(List.of(layer));
        }

        @Override
        public Optional<KvCache> cache() {
            return Optional.empty();
        }

        @Override
        public Activations run(Forward f, Activations in) {
            return in;
        }
    }

    private Linear layer(String name) {
        var grid = new Encoding.Grid<>(new Codes.Ints(4, true), new Tiles(1, 32));
        Random random = new Random(7);
        var w = Fixture.weight(memory, random, grid, 48, 64, DType.BF16, false, 0);
        return new Linear(name, w, null, null);
    }

    @Test
    void unpacksWhatTheDeviceMultipliesFasterSo() {
        Linear own = layer("own");
        Linear expert = layer("expert");
        Weight packed = own.weight();
        List<Stage> stages = List.of(new Layers(own, false), new Layers(expert, true));
        try (Backend backend = new CpuBackend(BackendOptions.defaults());
                TensorArena arena = backend.newArena(1 << 16)) {
            Tensor values = arena.allocate(DType.F32, new Shape(48, 64));
            backend.run(new CompressionOp.Dequantize(values, packed));
            try (var _ = new Unpacked(stages, backend)) {
                assertThat(expert.weight()).isInstanceOf(Weight.Grouped.class);
                if (backend.unpacks(packed)) {
                    Tensor plain = ((Weight.Dense) own.weight()).values();
                    assertThat(plain.bytes().mismatch(values.bytes())).isEqualTo(-1);
                } else {
                    assertThat(own.weight()).isSameAs(packed);
                }
            }
            assertThat(own.weight()).isSameAs(packed);
        }
    }

    @Test
    void portableProductsTakeThemPacked() {
        var options = new BackendOptions(1, BackendOptions.Math.PORTABLE);
        try (Backend backend = new CpuBackend(options)) {
            assertThat(backend.unpacks(layer("packed").weight())).isFalse();
        }
    }
}
