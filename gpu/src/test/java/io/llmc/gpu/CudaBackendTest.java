// SPDX-License-Identifier: Apache-2.0
package io.llmc.gpu;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import com.google.errorprone.annotations.MustBeClosed;
import io.llmc.backend.Backend;
import io.llmc.backend.BackendContract;
import io.llmc.backend.BackendOptions;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Nested;

/// The contract of all backends, on the stand-in driver.
class CudaBackendTest {
    @BeforeAll
    static void standIn() {
        var problem = StandIn.install();
        assumeTrue(problem.isEmpty(), problem.orElse(""));
        assertThat(Natives.driverProblem()).isEmpty();
        assertThat(new CudaBackendProvider().devices()).allMatch(d -> d.usable());
    }

    @MustBeClosed
    private static Backend backend() {
        return new CudaBackend(0, new BackendOptions(1, BackendOptions.Math.PORTABLE));
    }

    @Nested
    class InOrder extends BackendContract {
        @Override
        @MustBeClosed
        protected Backend open(int threads) {
            return backend();
        }
    }

    /// The other order of warps and lanes shows a barrier that is missing.
    @Nested
    class Reversed extends BackendContract {
        @BeforeEach
        void reverse() {
            StandIn.set("reverse", "1");
        }

        @AfterEach
        void restore() {
            StandIn.set("reverse", "");
        }

        @Override
        @MustBeClosed
        protected Backend open(int threads) {
            return backend();
        }
    }
}
