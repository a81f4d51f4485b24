// SPDX-License-Identifier: Apache-2.0
package io.llmc.backend;

import java.util.List;

/// Runs operations in order. A [Backend] executes them; decorators check, time or record them.
@FunctionalInterface
public interface Runner {
    void run(Op op);

    /// Runs operations of which none reads or writes what another one writes: in any order, or at
    /// once.
    default void runAll(List<? extends Op> independent) {
        independent.forEach(this::run);
    }
}
