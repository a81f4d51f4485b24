// SPDX-License-Identifier: Apache-2.0
package io.llmc.model.structure;

/// What a mixer keeps of all rows of a sequence together, whatever their number: F32 `[rows,
/// cols]`.
///
/// @param name of the tensor that it belongs to: `model.layers.0.conv.conv`
public record StateSpec(String name, long rows, long cols) {
    public long bytes() {
        return 4 * rows * cols;
    }
}
