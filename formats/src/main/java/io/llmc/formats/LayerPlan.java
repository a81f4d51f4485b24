// SPDX-License-Identifier: Apache-2.0
package io.llmc.formats;

import io.llmc.tensor.Codes;
import io.llmc.tensor.Scheme;
import io.llmc.tensor.Tiles;

/// A linear layer as a layout is to spell it, known before any weight is read.
///
/// @param grid of the scheme's weights, as the layout itself gave it
/// @param groupIndex whether inputs are assigned to groups one by one
public record LayerPlan(
        String linear, long out, long in, Scheme scheme, GridSpec<?> grid, boolean groupIndex) {
    /// Of weights alone, whose groups are contiguous.
    public static LayerPlan of(String linear, long out, long in, GridSpec<?> grid) {
        return new LayerPlan(linear, out, in, Scheme.of(grid.grid()), grid, false);
    }

    public LayerPlan withGroupIndex(boolean indexed) {
        return new LayerPlan(linear, out, in, scheme, grid, indexed);
    }

    public Codes codes() {
        return grid.grid().codes();
    }

    public Tiles tiles() {
        return grid.grid().tiles();
    }
}
