// SPDX-License-Identifier: Apache-2.0
package io.llmc.backend;

/// Runs operations in order. A [Backend] executes them; decorators check, time or record them.
@FunctionalInterface
public interface Runner {
    void run(Op op);
}
