// SPDX-License-Identifier: Apache-2.0
package io.llmc.solver;

/// An error as a part of what it is an error of.
public final class RelativeError {
    private RelativeError() {}

    /// A layer that gives nothing loses nothing; where something came of nothing, all of it is
    /// error: 1.
    ///
    /// @param error sum of squared differences
    /// @param norm sum of squares of what should be there
    public static double of(double error, double norm) {
        if (norm > 0) {
            return error / norm;
        }
        return error > 0 ? 1 : 0;
    }
}
