// SPDX-License-Identifier: Apache-2.0
package io.llmc.tensor;

/// The parts of a matrix that share a scale: rectangles of `rows` by `cols` from its upper left
/// corner on; those at its right and lower edges may be smaller. Of a weight `[out, in]` they are
/// groups along the input; of activations `[tokens, in]` a tile of one row is a token.
///
/// @param rows positive, or [#ALL]
/// @param cols positive, or [#ALL]
public record Tiles(int rows, int cols) {
    /// As many as the matrix has.
    public static final int ALL = -1;

    /// A scale for each row: an output channel of a weight, a token of activations.
    public static final Tiles ROW = new Tiles(1, ALL);

    /// One scale for the whole matrix.
    public static final Tiles TENSOR = new Tiles(ALL, ALL);

    public Tiles {
        if (rows <= 0 && rows != ALL) {
            throw new IllegalArgumentException("tile height must be positive: " + rows);
        }
        if (cols <= 0 && cols != ALL) {
            throw new IllegalArgumentException("group size must be positive: " + cols);
        }
    }

    /// Groups along a row.
    ///
    /// @param size weights that share a scale; [#ALL] for a whole row
    public static Tiles groups(int size) {
        return new Tiles(1, size);
    }

    /// Columns of a tile in a matrix of `in` columns.
    public long width(long in) {
        return cols == ALL ? in : cols;
    }

    /// Rows of a tile in a matrix of `out` rows.
    public long height(long out) {
        return rows == ALL ? out : rows;
    }

    /// Tiles beside each other in a matrix of `in` columns; the last may be narrow.
    public long across(long in) {
        return Math.ceilDiv(in, width(in));
    }

    /// Tiles below each other in a matrix of `out` rows; the last may be low.
    public long down(long out) {
        return Math.ceilDiv(out, height(out));
    }

    /// `groups of 64`, `whole rows`, `one scale`, `blocks of 128 x 128`
    public String describe() {
        if (equals(TENSOR)) {
            return "one scale";
        }
        if (rows != 1) {
            return "blocks of %d x %d".formatted(rows, cols);
        }
        return cols == ALL ? "whole rows" : "groups of " + cols;
    }
}
