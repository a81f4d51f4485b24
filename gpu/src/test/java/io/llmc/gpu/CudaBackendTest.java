// SPDX-License-Identifier: Apache-2.0
package io.llmc.gpu;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import com.google.errorprone.annotations.MustBeClosed;
import io.llmc.backend.Backend;
import io.llmc.backend.BackendContract;
import io.llmc.backend.BackendOptions;
import io.llmc.backend.Op;
import io.llmc.gpu.driver.Natives;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Tag;

/// The contract of all backends, on the stand-in driver.
@Tag("long")
class CudaBackendTest extends BackendContract {
    @BeforeAll
    static void standIn() {
        var problem = StandIn.install();
        assumeTrue(problem.isEmpty(), problem.orElse(""));
        assertThat(Natives.driverProblem()).isEmpty();
        assertThat(new CudaBackendProvider().devices()).allMatch(d -> d.usable());
    }

    @AfterEach
    void restore() {
        StandIn.set("reverse", "");
    }

    /// An even number of threads stands for the other order of warps, lanes and blocks: a barrier
    /// that is missing then gives other bytes.
    @Override
    @MustBeClosed
    protected Backend open(int threads) {
        StandIn.set("reverse", threads % 2 == 0 ? "1" : "");
        return new CudaBackend(0, new BackendOptions(1, BackendOptions.Math.PORTABLE));
    }

    @Override
    protected boolean runs(Class<? extends Op> op) {
        return !Op.ON_CPU_ALONE.contains(op);
    }

    /// Both kinds of tiles, and both sides of where the one takes over from the other.
    @Override
    protected int productRows() {
        return 141;
    }

    @Override
    protected int[] otherThreads() {
        return new int[] {1};
    }
}
