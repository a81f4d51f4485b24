// SPDX-License-Identifier: Apache-2.0
package io.llmc.gpu.driver;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import com.google.errorprone.annotations.MustBeClosed;
import io.llmc.backend.BackendOptions;
import io.llmc.backend.BackendProvider.Device;
import io.llmc.backend.ForwardOp;
import io.llmc.backend.GradientOp;
import io.llmc.backend.OutOfDeviceMemoryException;
import io.llmc.backend.TensorArena;
import io.llmc.formats.UserException;
import io.llmc.gpu.CudaBackend;
import io.llmc.gpu.CudaBackendProvider;
import io.llmc.gpu.StandIn;
import io.llmc.tensor.DType;
import io.llmc.tensor.Shape;
import io.llmc.tensor.Tensor;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.List;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/// Memory, streams and failures, on the stand-in driver.
@Tag("long")
class GpuTest {
    private static final long MIB = 1 << 20;

    @BeforeAll
    static void standIn() {
        var problem = StandIn.install();
        assumeTrue(problem.isEmpty(), problem.orElse(""));
        assertThat(Natives.driverProblem()).isEmpty();
    }

    @AfterEach
    void restore() {
        for (String key : new String[] {"memory", "devices", "version", "fail", "reverse"}) {
            StandIn.set(key, "");
        }
    }

    @MustBeClosed
    private static CudaBackend open(long memory) {
        return new CudaBackend(
                0,
                new BackendOptions(
                        1, BackendOptions.Math.PORTABLE, memory, BackendOptions.Compute.F32));
    }

    @Test
    void moreThanTheDeviceHasIsRefusedByName() {
        StandIn.set("memory", String.valueOf(8 * MIB));
        try (CudaBackend backend = open(Long.MAX_VALUE);
                TensorArena first = backend.newArena(5 * MIB)) {
            assertThat(first).isNotNull();
            assertThat(backend.room()).isEqualTo(3 * MIB);
            assertThatThrownBy(() -> backend.newArena(4 * MIB).close())
                    .isInstanceOf(OutOfDeviceMemoryException.class)
                    .hasMessageContainingAll("cuda:0", "4,194,304", "3,145,728 left", "8,388,608");
        }
    }

    @Test
    void theCapIsKept() {
        try (CudaBackend backend = open(6 * MIB);
                TensorArena first = backend.newArena(5 * MIB)) {
            assertThat(first).isNotNull();
            assertThatThrownBy(() -> backend.newArena(2 * MIB).close())
                    .isInstanceOf(OutOfDeviceMemoryException.class)
                    .hasMessageContainingAll("1,048,576 left of 6,291,456");
        }
    }

    @Test
    void whatComesBackIsTakenAgain() {
        try (CudaBackend backend = open(6 * MIB)) {
            for (int i = 0; i < 5; i++) {
                try (TensorArena arena = backend.newArena(5 * MIB)) {
                    assertThat(arena).isNotNull();
                }
            }
            assertThat(backend.room()).isEqualTo(6 * MIB);
            // Does not fit beside the kept piece, which is given up for it.
            try (TensorArena arena = backend.newArena(2 * MIB)) {
                assertThat(arena).isNotNull();
            }
            assertThat(backend.room()).isEqualTo(6 * MIB);
        }
    }

    /// So that the next block's weights need not wait for this one's work.
    @Test
    void aLargeSlabThatIsInUseGetsAnotherBesideIt() {
        try (CudaBackend backend = open(100 * MIB)) {
            for (int i = 0; i < 5; i++) {
                try (TensorArena arena = backend.newArena(20 * MIB)) {
                    backend.run(new ForwardOp.Zero(arena.allocate(DType.U8, new Shape(MIB))));
                }
            }
            assertThat(backend.gpu().memory().used()).isEqualTo(40 * MIB);
        }
    }

    /// The stand-in puts off all work until somebody waits, so that a copy which overtakes a
    /// kernel, or the other way round, shows.
    @Test
    void copiesAndKernelsKeepTheirOrder() {
        try (CudaBackend backend = open(Long.MAX_VALUE)) {
            float expected = 0;
            try (TensorArena arena = backend.newArena(MIB)) {
                Tensor sum = arena.allocate(DType.F32, new Shape(1, 1000));
                for (int i = 1; i <= 50; i++) {
                    try (TensorArena scratch = arena.scratch()) {
                        Tensor x = scratch.allocate(DType.F32, new Shape(1, 1000));
                        backend.upload(x, floats(1000, i));
                        backend.run(new GradientOp.AccumulateScaled(sum, x, 1));
                        expected += i;
                    }
                }
                assertThat(download(backend, sum)).containsOnly(expected);
            }
            // The same memory again, while it may still be in use.
            for (int i = 0; i < 3; i++) {
                try (TensorArena arena = backend.newArena(MIB)) {
                    Tensor x = arena.allocate(DType.F32, new Shape(1, 1000));
                    assertThat(download(backend, x)).containsOnly(0);
                    backend.upload(x, floats(1000, i));
                    backend.run(new GradientOp.AccumulateScaled(x, x, 1));
                    assertThat(download(backend, x)).containsOnly(2f * i);
                }
            }
        }
    }

    /// In both orders: with all copies put off as long as they may be, and with all as early.
    @ParameterizedTest
    @ValueSource(strings = {"", "1"})
    void anUploadWaitsForTheKernelsThatReadWhatWasThere(String reverse) {
        StandIn.set("reverse", reverse);
        try (CudaBackend backend = open(Long.MAX_VALUE);
                TensorArena arena = backend.newArena(MIB)) {
            Tensor sum = arena.allocate(DType.F32, new Shape(1, 1000));
            Tensor x = arena.allocate(DType.F32, new Shape(1, 1000));
            for (int i = 1; i <= 10; i++) {
                backend.upload(x, floats(1000, i));
                backend.run(new GradientOp.AccumulateScaled(sum, x, 1));
            }
            assertThat(download(backend, sum)).containsOnly(55);
        }
    }

    @Test
    void uploadsLargerThanTheStagingBuffersArrive() {
        int n = 11 << 20; // 44 MiB through 16 MiB buffers
        try (CudaBackend backend = open(Long.MAX_VALUE);
                TensorArena arena = backend.newArena(4L * n)) {
            Tensor t = arena.allocate(DType.F32, new Shape(1, n));
            MemorySegment host = StandIn.bytes(4L * n);
            for (int i = 0; i < n; i++) {
                host.setAtIndex(ValueLayout.JAVA_FLOAT, i, i * 0.5f);
            }
            long up = StandIn.count("bytes up");
            backend.upload(t, host);
            MemorySegment back = StandIn.bytes(4L * n);
            backend.download(back, t);
            assertThat(back.mismatch(host)).isEqualTo(-1);
            assertThat(StandIn.count("bytes up") - up).isEqualTo(4L * n);
        }
    }

    @Test
    void aKernelThatFailsIsNamed() {
        StandIn.set("fail", "softcap:1");
        try (CudaBackend backend = open(Long.MAX_VALUE);
                TensorArena arena = backend.newArena(MIB)) {
            Tensor x = arena.allocate(DType.F32, new Shape(1, 10));
            Tensor y = arena.allocate(DType.F32, new Shape(1, 10));
            backend.run(new ForwardOp.Softcap(y, x, 1));
            assertThatThrownBy(() -> download(backend, y))
                    .isInstanceOf(CudaException.class)
                    .hasMessageContainingAll("cuda:0", "softcap", "LAUNCH_FAILED", "719")
                    .extracting(e -> ((UserException) e).hint())
                    .asString()
                    .contains("{device} cpu");
        }
    }

    @Test
    void anOldDriverIsRefused() {
        StandIn.set("version", "10020");
        assertThat(new CudaBackendProvider().devices())
                .singleElement()
                .matches(d -> !d.usable())
                .extracting(Device::description)
                .asString()
                .contains("CUDA 10.2", "CUDA 11.0 or newer");
    }

    @Test
    void everyDeviceIsListed() {
        StandIn.set("devices", "3");
        List<Device> devices = new CudaBackendProvider().devices();
        assertThat(devices).extracting(Device::name).containsExactly("cuda:0", "cuda:1", "cuda:2");
        assertThat(devices.get(2).description())
                .contains("llmc stand-in", "4.0 GiB", "capability 8.0", "cuBLAS 13");
    }

    @Test
    void oneDnnIsNoLibraryOfAGpu() {
        assertThatThrownBy(() ->
                        new CudaBackendProvider()
                                .open("cuda:0", new BackendOptions(1, BackendOptions.Math.ONEDNN))
                                .close())
                .isInstanceOf(UserException.class)
                .hasMessageContaining("onednn");
    }

    private static MemorySegment floats(int n, float value) {
        MemorySegment host = StandIn.bytes(4L * n);
        for (int i = 0; i < n; i++) {
            host.setAtIndex(ValueLayout.JAVA_FLOAT, i, value);
        }
        return host;
    }

    private static float[] download(CudaBackend backend, Tensor t) {
        MemorySegment host = StandIn.bytes(t.byteSize());
        backend.download(host, t);
        return host.toArray(ValueLayout.JAVA_FLOAT);
    }
}
