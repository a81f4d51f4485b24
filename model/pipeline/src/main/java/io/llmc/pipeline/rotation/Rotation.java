// SPDX-License-Identifier: Apache-2.0
package io.llmc.pipeline.rotation;

/// A matrix with orthonormal rows, by which channels are turned. Where it has fewer rows than
/// columns it also cuts.
public interface Rotation {
    /// Channels after it.
    int rows();

    /// Channels before it.
    int cols();

    double at(int row, int col);

    /// @param rows `[rows][cols]`, orthonormal
    static Rotation of(double[][] rows, int cols) {
        return new Rotation() {
            @Override
            public int rows() {
                return rows.length;
            }

            @Override
            public int cols() {
                return cols;
            }

            @Override
            public double at(int row, int col) {
                return rows[row][col];
            }
        };
    }
}
