// SPDX-License-Identifier: Apache-2.0
package io.llmc.backend;

import io.llmc.backend.cpu.CpuBackend;
import org.junit.jupiter.api.Nested;

class CpuBackendTest {
    @Nested
    class Portable extends BackendContract {
        @Override
        protected Backend open(int threads) {
            return new CpuBackend(new BackendOptions(threads, BackendOptions.Math.PORTABLE));
        }
    }

    @Nested
    class OneDnn extends BackendContract {
        @Override
        protected Backend open(int threads) {
            return new CpuBackend(new BackendOptions(threads, BackendOptions.Math.ONEDNN));
        }
    }
}
