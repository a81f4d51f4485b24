// SPDX-License-Identifier: Apache-2.0
package io.llmc.quantize;

import io.llmc.backend.CompressionOp;
import io.llmc.pipeline.Options;
import io.llmc.tensor.Codes;
import io.llmc.tensor.Encoding;
import io.llmc.tensor.Tiles;

/// The options that every grid quantizer reads.
final class GridOptions {
    private GridOptions() {}

    /// `bits` (4), `groupSize` (128, or `channel`), `symmetric` (true).
    static Encoding.Grid<Codes.Ints> spec(Options o) {
        int bits = o.integer("bits", 4);
        String group = o.text("groupSize", "128");
        boolean symmetric = o.flag("symmetric", true);
        int size;
        try {
            size =
                    group.equals("channel") || group.equals("-1")
                            ? Tiles.ALL
                            : Integer.parseInt(group);
        } catch (NumberFormatException e) {
            throw o.error(
                    "groupSize", "groupSize is %s, expected a number or channel".formatted(group));
        }
        try {
            return Encoding.ints(bits, size, symmetric);
        } catch (IllegalArgumentException e) {
            throw o.error(e.getMessage().startsWith("bits") ? "bits" : "groupSize", e.getMessage());
        }
    }

    /// `clipSteps` (9), `clipGrid` (20), `clipNorm` (2): factors 1.0 to 0.6. GPTQ's own `mse`
    /// search is 80, 100 and 2.4.
    static CompressionOp.GridSearch search(Options o) {
        int steps = o.integer("clipSteps", CompressionOp.GridSearch.DEFAULT.steps());
        int grid = o.integer("clipGrid", CompressionOp.GridSearch.DEFAULT.grid());
        double norm = o.decimal("clipNorm", CompressionOp.GridSearch.DEFAULT.norm());
        try {
            return new CompressionOp.GridSearch(steps, grid, (float) norm);
        } catch (IllegalArgumentException e) {
            throw o.error("clipSteps", e.getMessage());
        }
    }
}
