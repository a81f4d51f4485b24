// SPDX-License-Identifier: Apache-2.0
package io.llmc.backend;

/// Names what was asked and what was left, so that the user can lower `--calib-length` or raise
/// `--memory`.
public final class OutOfDeviceMemoryException extends RuntimeException {
    /// @param wanted bytes of the allocation that failed
    public OutOfDeviceMemoryException(String device, long wanted, long left, long capacity) {
        super("%s: %,d bytes wanted, %,d left of %,d".formatted(device, wanted, left, capacity));
    }
}
