// SPDX-License-Identifier: Apache-2.0
package io.llmc.gpu;

import io.llmc.tensor.Buffer;
import io.llmc.tensor.Lifetime;
import io.llmc.tensor.Tensor;
import jcuda.driver.CUdeviceptr;

/// A piece of a slab on a device.
///
/// @param untouched no kernel had this memory since its slab was taken: an upload need not wait for
///   any
record CudaBuffer(
        Gpu gpu, Allocation slab, long offset, long byteSize, Lifetime lifetime, boolean untouched)
        implements Buffer {
    @Override
    public String device() {
        return gpu.device();
    }

    @Override
    public boolean isAlive() {
        return lifetime.isAlive();
    }

    /// Where a tensor begins, as a kernel's argument.
    static long address(Tensor t) {
        return of(t).slab.address() + of(t).offset + t.byteOffset();
    }

    /// Where a tensor begins, for a copy.
    static CUdeviceptr pointer(Tensor t) {
        return of(t).slab.withByteOffset(of(t).offset + t.byteOffset());
    }

    static CudaBuffer of(Tensor t) {
        return (CudaBuffer) t.buffer();
    }
}
