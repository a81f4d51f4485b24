// SPDX-License-Identifier: Apache-2.0
package io.llmc.prune;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import io.llmc.backend.Backend;
import io.llmc.backend.BackendOptions;
import io.llmc.backend.CompressionOp;
import io.llmc.backend.Desk;
import io.llmc.backend.TensorArena;
import io.llmc.backend.cpu.CpuBackend;
import io.llmc.formats.TestFiles;
import io.llmc.prune.weights.Compare;
import io.llmc.prune.weights.Sparse;
import io.llmc.prune.weights.SparseGptMath;
import io.llmc.solver.Factor;
import io.llmc.solver.Npy;
import io.llmc.solver.Pattern;
import io.llmc.tensor.DType;
import io.llmc.tensor.Shape;
import io.llmc.tensor.Tensor;
import io.llmc.tensor.Weight;
import java.lang.foreign.Arena;
import java.lang.foreign.ValueLayout;
import java.nio.file.Files;
import java.nio.file.Path;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/// One layer against what the reference implementations (IST-DASLab/sparsegpt, locuslab/wanda,
/// untouched) made of it.
class LayerOracleTest {
    private static final int N = 512;

    private Path oracles;
    private Backend backend;
    private TensorArena arena;

    @BeforeEach
    @SuppressWarnings("MustBeClosed") // closed by close()
    void open() {
        oracles = TestFiles.shared("oracles/layers/512x512");
        assumeTrue(Files.isDirectory(oracles), "no ../shared/oracles: skipped");
        backend = new CpuBackend(BackendOptions.defaults());
        arena = backend.newArena(1 << 26);
    }

    @AfterEach
    void close() {
        if (backend != null) {
            arena.close();
            backend.close();
        }
    }

    private Tensor read(String name) {
        Npy npy = Npy.read(oracles.resolve(name + ".npy"));
        Tensor t =
                arena.allocate(
                        DType.F32, npy.values().length == N ? new Shape(N) : new Shape(N, N));
        try (Arena host = Arena.ofConfined()) {
            backend.upload(t, host.allocateFrom(ValueLayout.JAVA_FLOAT, npy.values()));
        }
        return t;
    }

    private static Pattern pattern(String key) {
        return switch (key) {
            case "2to4" -> new Pattern.NOfM(2, 4);
            case "4to8" -> new Pattern.NOfM(4, 8);
            default -> new Pattern.Unstructured(0.5);
        };
    }

    @ParameterizedTest
    @CsvSource({"50", "2to4", "4to8"})
    void sparseGptPrunesAsTheReference(String key) {
        float[] want = Npy.read(oracles.resolve("sparsegpt_" + key + "_Q.npy")).values();
        Tensor h = read("H_f64");
        Tensor w = read("W");
        Desk d = new Desk(backend, arena);
        Factor factor = Factor.of(d, h, 0.01, false);
        var settings = new SparseGptMath.Settings(pattern(key), 0.5, 128);
        SparseGptMath.Result result =
                SparseGptMath.prune(d, new Weight.Dense(w), h, factor, settings);
        float[] got = backend.floats(result.values());
        double worst = 0;
        for (int i = 0; i < want.length; i++) {
            assertThat(got[i] == 0).as("zero at %d", i).isEqualTo(want[i] == 0);
            worst = Math.max(worst, Math.abs(got[i] - want[i]));
        }
        assertThat(worst).as("largest difference of a weight").isLessThan(1e-5);
        assertThat(result.error()).isLessThan(result.uncompensated());
        assertThat(result.sparsity()).isBetween(0.5, 0.5001);
    }

    @ParameterizedTest
    @CsvSource({"50", "2to4", "4to8"})
    void wandaPrunesAsTheReference(String key) {
        Npy want = Npy.read(oracles.resolve("wanda_" + key + "_mask.npy"));
        float[] norms = Npy.read(oracles.resolve("wanda_scaler_row.npy")).values();
        for (int i = 0; i < norms.length; i++) {
            norms[i] = (float) Math.sqrt(norms[i]);
        }
        Tensor w = read("W");
        CompressionOp.MaskRule rule = Sparse.rule(pattern(key), 0.5, Compare.ROW, N, N);
        Tensor importance = new Desk(backend, arena).floats(norms);
        Sparse.Pruned pruned = Sparse.prune(new Desk(backend, arena), w, importance, rule);
        float[] got = backend.floats(pruned.values());
        for (int i = 0; i < got.length; i++) {
            assertThat(got[i] == 0).as("pruned at %d", i).isEqualTo(want.values()[i] == 1);
        }
        assertThat(pruned.sparsity()).isEqualTo(0.5);
    }
}
