// SPDX-License-Identifier: Apache-2.0
package io.llmc.backend;

import io.llmc.backend.cpu.CpuBackend;
import org.junit.jupiter.api.Nested;
import org.junit.jupiter.api.Tag;

class CpuBackendTest {
    @Nested
    class Portable extends BackendContract {
        @Override
        protected Backend open(int threads) {
            return new CpuBackend(new BackendOptions(threads, BackendOptions.Math.PORTABLE));
        }
    }

    @Nested
    @Tag("long")
    class OneDnn extends BackendContract {
        /// What the library computes; the rest is the portable backend's.
        @Override
        protected String ops() {
            return "Matmul|IntegerMatmul|AccumulateMatmulInput|AccumulateOuter";
        }

        @Override
        protected int fewRows() {
            return 8;
        }

        @Override
        protected Backend open(int threads) {
            return new CpuBackend(new BackendOptions(threads, BackendOptions.Math.ONEDNN));
        }
    }
}
