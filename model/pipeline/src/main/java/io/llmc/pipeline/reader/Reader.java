// SPDX-License-Identifier: Apache-2.0
package io.llmc.pipeline.reader;

/// Who is to read an output.
///
/// @param parts processes that it spreads every layer over
public record Reader(Target target, int parts) {
    /// @throws io.llmc.formats.UserException with the nearest legal choice, where it would refuse
    public void require(Output output) {
        target.require(output.spread(parts));
    }
}
