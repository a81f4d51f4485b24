// SPDX-License-Identifier: Apache-2.0
package io.llmc.gpu.driver;

import jcuda.driver.CUdeviceptr;
import jcuda.driver.CUevent;

/// One piece of device memory from the driver.
public final class Allocation extends CUdeviceptr {
    final long bytes;

    /// When the work that used it last has come to its end; null where it is new.
    CUevent released;

    Allocation(long bytes) {
        this.bytes = bytes;
    }

    long address() {
        return getNativePointer();
    }
}
