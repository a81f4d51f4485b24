// SPDX-License-Identifier: Apache-2.0
package io.llmc.gpu.driver;

import io.llmc.formats.UserException;

/// A call that the driver refused, or work that failed on the device.
public final class CudaException extends UserException {
    private static final String UPDATE = "update the NVIDIA driver, or pass {device} cpu";

    private final int code;

    /// @param where device and call
    /// @param name of the code, as the driver has it
    CudaException(String where, int code, String name, String text) {
        super("%s: %s (%d, %s)".formatted(where, name, code, text), remedy(code));
        this.code = code;
    }

    public int code() {
        return code;
    }

    private static String remedy(int code) {
        return switch (code) {
            case 35, 36, 218, 222, 803, 804 -> UPDATE;
            case 100, 101 -> "llmc devices lists the devices that there are";
            case 46 ->
                    "another process holds the device for itself: wait for it, or pass {device} cpu";
            default ->
                    "what was finished is kept: the same command goes on there, and with {device} cpu on"
                            + " the processor";
        };
    }
}
