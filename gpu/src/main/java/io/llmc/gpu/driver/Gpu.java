// SPDX-License-Identifier: Apache-2.0
package io.llmc.gpu.driver;

import static jcuda.driver.JCudaDriver.cuCtxSetCurrent;
import static jcuda.driver.JCudaDriver.cuDeviceGet;
import static jcuda.driver.JCudaDriver.cuDevicePrimaryCtxRelease;
import static jcuda.driver.JCudaDriver.cuDevicePrimaryCtxRetain;
import static jcuda.driver.JCudaDriver.cuEventCreate;
import static jcuda.driver.JCudaDriver.cuEventDestroy;
import static jcuda.driver.JCudaDriver.cuEventElapsedTime;
import static jcuda.driver.JCudaDriver.cuEventQuery;
import static jcuda.driver.JCudaDriver.cuEventRecord;
import static jcuda.driver.JCudaDriver.cuEventSynchronize;
import static jcuda.driver.JCudaDriver.cuGetErrorName;
import static jcuda.driver.JCudaDriver.cuGetErrorString;
import static jcuda.driver.JCudaDriver.cuLaunchKernel;
import static jcuda.driver.JCudaDriver.cuMemAlloc;
import static jcuda.driver.JCudaDriver.cuMemFree;
import static jcuda.driver.JCudaDriver.cuMemGetInfo;
import static jcuda.driver.JCudaDriver.cuMemcpyDtoDAsync;
import static jcuda.driver.JCudaDriver.cuMemcpyPeerAsync;
import static jcuda.driver.JCudaDriver.cuMemsetD8Async;
import static jcuda.driver.JCudaDriver.cuStreamCreate;
import static jcuda.driver.JCudaDriver.cuStreamDestroy;
import static jcuda.driver.JCudaDriver.cuStreamSynchronize;
import static jcuda.driver.JCudaDriver.cuStreamWaitEvent;

import com.google.errorprone.annotations.MustBeClosed;
import io.llmc.tensor.Tensor;
import java.lang.foreign.MemorySegment;
import java.util.Optional;
import jcuda.Pointer;
import jcuda.driver.CUcontext;
import jcuda.driver.CUdevice;
import jcuda.driver.CUdeviceptr;
import jcuda.driver.CUevent;
import jcuda.driver.CUfunction;
import jcuda.driver.CUresult;
import jcuda.driver.CUstream;

/// One device: its context, memory, and two streams. Kernels run on the one in the order of their
/// launches; uploads run on the other, and each side waits for the other where it must.
///
/// The driver's current context belongs to a thread, so every entry makes it current; the backend
/// lets one thread in at a time.
public final class Gpu implements AutoCloseable {
    private static final int NON_BLOCKING = 1;
    private static final int OUT_OF_MEMORY = CUresult.CUDA_ERROR_OUT_OF_MEMORY;

    private final String device;
    private final CUdevice handle = new CUdevice();
    private final CUcontext context = new CUcontext();
    private final CUstream compute = new CUstream();
    private final CUstream copies = new CUstream();
    private final CUevent computed;
    private final CUevent copied;
    private final DeviceMemory memory;
    private final Staging staging;
    private boolean copying;

    /// Set once work has failed: a context is of no use any more then, and closing is quiet.
    private boolean failed;

    private String lastKernel = "nothing";

    /// @param memoryCap bytes of device memory at most
    public Gpu(int index, long memoryCap) {
        device = "cuda:" + index;
        check("cuDeviceGet", cuDeviceGet(handle, index));
        check("cuDevicePrimaryCtxRetain", cuDevicePrimaryCtxRetain(context, handle));
        enter();
        check("cuStreamCreate", cuStreamCreate(compute, NON_BLOCKING));
        check("cuStreamCreate", cuStreamCreate(copies, NON_BLOCKING));
        computed = event();
        copied = event();
        long[] free = new long[1];
        check("cuMemGetInfo", cuMemGetInfo(free, new long[1]));
        memory = new DeviceMemory(this, Math.min(free[0], memoryCap));
        staging = new Staging(this);
    }

    public String device() {
        return device;
    }

    public CUstream compute() {
        return compute;
    }

    CUstream copies() {
        return copies;
    }

    public DeviceMemory memory() {
        return memory;
    }

    /// Makes this device the calling thread's.
    public void enter() {
        check("cuCtxSetCurrent", cuCtxSetCurrent(context));
    }

    /// @throws CudaException where a call did not succeed
    public void check(String call, int code) {
        if (code != CUresult.CUDA_SUCCESS) {
            failed |= code >= CUresult.CUDA_ERROR_ILLEGAL_ADDRESS;
            String[] name = new String[1];
            String[] text = new String[1];
            cuGetErrorName(code, name);
            cuGetErrorString(code, text);
            throw new CudaException("%s: %s".formatted(device, call), code, name[0], text[0]);
        }
    }

    CUevent event() {
        CUevent event = new CUevent();
        check("cuEventCreate", cuEventCreate(event, 0));
        return event;
    }

    // ---------------------------------------------------------------- memory

    /// Empty where the device has less.
    Optional<Allocation> allocate(long bytes) {
        Allocation a = new Allocation(bytes);
        int code = cuMemAlloc(a, bytes);
        if (code == OUT_OF_MEMORY) {
            return Optional.empty();
        }
        check("cuMemAlloc", code);
        return Optional.of(a);
    }

    void free(Allocation a) {
        if (a.released != null) {
            check("cuEventDestroy", cuEventDestroy(a.released));
        }
        check("cuMemFree", cuMemFree(a));
    }

    /// A slab's memory, zeroed beside the work that is going on.
    public Allocation take(long bytes) {
        enter();
        Allocation a = memory.takeIdle(bytes);
        if (a.released != null) {
            check("cuStreamWaitEvent", cuStreamWaitEvent(copies, a.released, 0));
        }
        check("cuMemsetD8Async", cuMemsetD8Async(a, (byte) 0, a.bytes, copies));
        hasCopied();
        return a;
    }

    /// Whether no work on its way uses it.
    boolean isIdle(Allocation a) {
        if (a.released == null) {
            return true;
        }
        int code = cuEventQuery(a.released);
        if (code == CUresult.CUDA_ERROR_NOT_READY) {
            return false;
        }
        check("cuEventQuery", code);
        return true;
    }

    public void giveBack(Allocation a) {
        if (failed) {
            return;
        }
        enter();
        awaitCopies();
        if (a.released == null) {
            a.released = event();
        }
        check("cuEventRecord", cuEventRecord(a.released, compute));
        memory.giveBack(a);
    }

    /// Device memory for the kernels of one operation, full of anything.
    public final class Scratch implements AutoCloseable {
        private final Allocation a;

        private Scratch(long bytes) {
            a = memory.take(bytes);
            if (a.released != null) {
                // What used it last may have been an upload that no kernel has waited for.
                awaitCopies();
            }
        }

        public long address() {
            return a.address();
        }

        public CUdeviceptr pointer() {
            return a;
        }

        @Override
        public void close() {
            giveBack(a);
        }
    }

    @MustBeClosed
    public Scratch scratch(long bytes) {
        enter();
        return new Scratch(bytes);
    }

    // ---------------------------------------------------------------- streams

    /// The next kernel waits for the copies so far.
    void hasCopied() {
        copying = true;
    }

    private void awaitCopies() {
        if (copying) {
            check("cuEventRecord", cuEventRecord(copied, copies));
            check("cuStreamWaitEvent", cuStreamWaitEvent(compute, copied, 0));
            copying = false;
        }
    }

    /// The next copy waits for the kernels so far.
    void awaitKernels() {
        check("cuEventRecord", cuEventRecord(computed, compute));
        check("cuStreamWaitEvent", cuStreamWaitEvent(copies, computed, 0));
    }

    public void upload(Tensor to, MemorySegment from) {
        enter();
        if (!CudaBuffer.of(to).untouched()) {
            awaitKernels();
        }
        staging.upload(CudaBuffer.pointer(to), from);
        hasCopied();
    }

    /// Waits for everything before it.
    public void download(MemorySegment to, Tensor from) {
        enter();
        awaitCopies();
        staging.download(to, CudaBuffer.pointer(from));
    }

    /// From another device, beside what this one computes.
    public void receive(Tensor to, Tensor from) {
        CudaBuffer.of(from).touch(); // the other device's kernels wait until it has been read
        Gpu other = CudaBuffer.of(from).gpu();
        other.enter();
        other.awaitCopies();
        check("cuEventRecord", cuEventRecord(other.computed, other.compute));
        enter();
        if (!CudaBuffer.of(to).untouched()) {
            awaitKernels();
        }
        check("cuStreamWaitEvent", cuStreamWaitEvent(copies, other.computed, 0));
        check(
                "cuMemcpyPeerAsync",
                cuMemcpyPeerAsync(
                        CudaBuffer.pointer(to),
                        context,
                        CudaBuffer.pointer(from),
                        other.context,
                        from.byteSize(),
                        copies));
        hasCopied();
        // The other device must not overwrite what is still being read.
        check("cuEventRecord", cuEventRecord(copied, copies));
        other.enter();
        check("cuStreamWaitEvent", cuStreamWaitEvent(other.compute, copied, 0));
    }

    /// Between two places on the device.
    public void copy(CUdeviceptr to, CUdeviceptr from, long bytes) {
        enter();
        awaitCopies();
        check("cuMemcpyDtoDAsync", cuMemcpyDtoDAsync(to, from, bytes, compute));
    }

    public void zero(CUdeviceptr at, long bytes) {
        enter();
        awaitCopies();
        check("cuMemsetD8Async", cuMemsetD8Async(at, (byte) 0, bytes, compute));
    }

    /// Waits for all kernels; says which was the last one where one of them failed.
    public void await() {
        check("after launching " + lastKernel, cuStreamSynchronize(compute));
    }

    void awaitEvent(CUevent event) {
        check("after launching " + lastKernel, cuEventSynchronize(event));
    }

    public void launch(String kernel, CUfunction function, Grid grid, Pointer arguments) {
        awaitCopies();
        lastKernel = kernel;
        check(
                kernel,
                cuLaunchKernel(
                        function,
                        grid.x(),
                        grid.y(),
                        grid.z(),
                        grid.threads(),
                        1,
                        1,
                        grid.shared(),
                        compute,
                        arguments,
                        null));
    }

    /// Before work on the compute stream that is no kernel of ours.
    void beforeLibrary(String call) {
        enter();
        awaitCopies();
        lastKernel = call;
    }

    /// Milliseconds that the device took for something.
    public float time(Runnable work) {
        enter();
        CUevent before = event();
        CUevent after = event();
        check("cuEventRecord", cuEventRecord(before, compute));
        work.run();
        check("cuEventRecord", cuEventRecord(after, compute));
        await();
        float[] ms = new float[1];
        check("cuEventElapsedTime", cuEventElapsedTime(ms, before, after));
        check("cuEventDestroy", cuEventDestroy(before));
        check("cuEventDestroy", cuEventDestroy(after));
        return ms[0];
    }

    /// Leaves quietly where the device has failed: the failure has been reported.
    @Override
    public void close() {
        cuCtxSetCurrent(context);
        cuStreamSynchronize(compute);
        cuStreamSynchronize(copies);
        staging.close();
        try {
            memory.freeKept();
        } catch (CudaException _) {
            // The context takes its memory with it.
        }
        cuEventDestroy(computed);
        cuEventDestroy(copied);
        cuStreamDestroy(compute);
        cuStreamDestroy(copies);
        cuDevicePrimaryCtxRelease(handle);
    }
}
