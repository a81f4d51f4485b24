// SPDX-License-Identifier: Apache-2.0
package io.llmc.backend;

import io.llmc.backend.cpu.CpuBackend;

class CpuBackendTest extends BackendContract {
    @Override
    protected Backend open(int threads) {
        return new CpuBackend(new BackendOptions(threads, BackendOptions.Math.PORTABLE));
    }
}
