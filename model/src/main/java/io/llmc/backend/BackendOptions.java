// SPDX-License-Identifier: Apache-2.0
package io.llmc.backend;

/// How a device should work; neither changes results by more than rounding, and threads not at all.
///
/// @param threads worker threads; results do not depend on it
/// @param math which dense products the CPU uses
public record BackendOptions(int threads, Math math) {
    /// Dense products on the CPU.
    public enum Math {
        /// oneDNN where it was measured to be faster and its natives load, the Vector API
        /// otherwise.
        AUTO,
        /// oneDNN, or an error.
        ONEDNN,
        /// The Vector API: the same bytes on any CPU.
        PORTABLE
    }

    public BackendOptions {
        if (threads < 1) {
            throw new IllegalArgumentException("threads must be positive: " + threads);
        }
    }

    public static BackendOptions defaults() {
        return new BackendOptions(Runtime.getRuntime().availableProcessors(), Math.AUTO);
    }
}
