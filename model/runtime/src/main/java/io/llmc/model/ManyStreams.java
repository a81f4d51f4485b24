// SPDX-License-Identifier: Apache-2.0
package io.llmc.model;

import java.util.List;

/// What surrounds the branches of a block with several streams, with its tensors.
interface ManyStreams {
    /// All stages of the block, in order.
    ///
    /// @param specs of the branches
    /// @param branches the stages of each
    List<Stage> around(List<BranchSpec> specs, List<List<Stage>> branches);
}
