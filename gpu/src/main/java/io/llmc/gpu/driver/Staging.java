// SPDX-License-Identifier: Apache-2.0
package io.llmc.gpu.driver;

import static jcuda.driver.JCudaDriver.cuEventDestroy;
import static jcuda.driver.JCudaDriver.cuEventRecord;
import static jcuda.driver.JCudaDriver.cuMemFreeHost;
import static jcuda.driver.JCudaDriver.cuMemHostAlloc;
import static jcuda.driver.JCudaDriver.cuMemcpyDtoHAsync;
import static jcuda.driver.JCudaDriver.cuMemcpyHtoDAsync;

import java.lang.foreign.MemorySegment;
import jcuda.Pointer;
import jcuda.driver.CUdeviceptr;
import jcuda.driver.CUevent;

/// Pinned host memory that copies pass through: the driver reads and writes nothing else at the
/// full speed of the bus, and only so a copy runs beside everything else.
///
/// Uploads fill two buffers in turn, so that one is filled while the other is on its way.
final class Staging implements AutoCloseable {
    private static final int BUFFER = 16 << 20;
    private static final int ALIGN = 64;

    private final Gpu gpu;
    private final Pinned[] uploads;
    private final Pinned downloads;
    private int filling;

    private static final class Pinned {
        final Pointer pointer = new Pointer();
        final MemorySegment bytes;
        final CUevent sent;
        int top;

        Pinned(Gpu gpu) {
            gpu.check("cuMemHostAlloc", cuMemHostAlloc(pointer, BUFFER, 0));
            bytes = MemorySegment.ofBuffer(pointer.getByteBuffer(0, BUFFER));
            sent = gpu.event();
        }
    }

    Staging(Gpu gpu) {
        this.gpu = gpu;
        uploads = new Pinned[] {new Pinned(gpu), new Pinned(gpu)};
        downloads = new Pinned(gpu);
    }

    /// Reads `from` before it returns; the device has it once the copy stream has come so far.
    void upload(CUdeviceptr to, MemorySegment from) {
        for (long at = 0; at < from.byteSize(); ) {
            if (uploads[filling].top == BUFFER) {
                turn();
            }
            Pinned pinned = uploads[filling];
            long part = Math.min(from.byteSize() - at, BUFFER - pinned.top);
            MemorySegment.copy(from, at, pinned.bytes, pinned.top, part);
            gpu.check(
                    "cuMemcpyHtoDAsync",
                    cuMemcpyHtoDAsync(
                            to.withByteOffset(at),
                            pinned.pointer.withByteOffset(pinned.top),
                            part,
                            gpu.copies()));
            pinned.top =
                    (int) Math.min(BUFFER, Math.ceilDiv(pinned.top + part, (long) ALIGN) * ALIGN);
            at += part;
        }
    }

    private void turn() {
        gpu.check("cuEventRecord", cuEventRecord(uploads[filling].sent, gpu.copies()));
        filling = 1 - filling;
        gpu.awaitEvent(uploads[filling].sent);
        uploads[filling].top = 0;
    }

    void download(MemorySegment to, CUdeviceptr from) {
        long at = 0;
        do {
            long part = Math.min(to.byteSize() - at, BUFFER);
            if (part > 0) {
                gpu.check(
                        "cuMemcpyDtoHAsync",
                        cuMemcpyDtoHAsync(
                                downloads.pointer, from.withByteOffset(at), part, gpu.compute()));
            }
            gpu.await();
            MemorySegment.copy(downloads.bytes, 0, to, at, part);
            at += part;
        } while (at < to.byteSize());
    }

    @Override
    public void close() {
        for (Pinned p : new Pinned[] {uploads[0], uploads[1], downloads}) {
            cuMemFreeHost(p.pointer);
            cuEventDestroy(p.sent);
        }
    }
}
