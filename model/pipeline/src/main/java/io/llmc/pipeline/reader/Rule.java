// SPDX-License-Identifier: Apache-2.0
package io.llmc.pipeline.reader;

import java.util.List;

/// What one kind of reader asks of an output.
@FunctionalInterface
interface Rule {
    /// What it would refuse, in the order of the model; empty where it reads the output.
    List<Conflict> conflicts(Output output);

    /// @param what a sentence without its end
    /// @param nearest the choice nearest to what was asked for that is legal
    record Conflict(String what, String nearest) {
        /// For who is only told.
        String note() {
            return what + "; " + nearest;
        }
    }
}
