// SPDX-License-Identifier: Apache-2.0
package io.llmc.gpu.driver;

import io.llmc.tensor.Buffer;
import io.llmc.tensor.Lifetime;
import io.llmc.tensor.Tensor;
import jcuda.driver.CUdeviceptr;

/// A piece of a slab on a device.
///
/// @param use shared by all views of it
public record CudaBuffer(
        Gpu gpu, Allocation slab, long offset, long byteSize, Lifetime lifetime, Use use)
        implements Buffer {
    /// Whether kernels may have this memory: an upload waits for them then. Memory that none had
    /// since its slab was taken is filled beside the work that is going on.
    public static final class Use {
        private boolean kernels;

        public Use(boolean kernels) {
            this.kernels = kernels;
        }
    }

    boolean untouched() {
        return !use.kernels;
    }

    /// Before work on the compute stream that reads or writes it.
    public void touch() {
        use.kernels = true;
    }

    @Override
    public String device() {
        return gpu.device();
    }

    @Override
    public boolean isAlive() {
        return lifetime.isAlive();
    }

    /// Where a tensor begins, as a kernel's argument.
    public static long address(Tensor t) {
        return of(t).slab.address() + of(t).offset + t.byteOffset();
    }

    /// Where a tensor begins, for a copy.
    public static CUdeviceptr pointer(Tensor t) {
        return of(t).slab.withByteOffset(of(t).offset + t.byteOffset());
    }

    public static CudaBuffer of(Tensor t) {
        return (CudaBuffer) t.buffer();
    }
}
