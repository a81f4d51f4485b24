// SPDX-License-Identifier: Apache-2.0
package io.llmc.cli;

/// Scripts depend on these; see README.
final class ExitCode {
    static final int OK = 0;
    static final int FAILED = 1;
    static final int USAGE = 2;

    /// Measured, and a gate was missed.
    static final int MISSED = 3;

    static final int BUG = 70;

    private ExitCode() {}
}
