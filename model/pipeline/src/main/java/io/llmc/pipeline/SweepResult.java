// SPDX-License-Identifier: Apache-2.0
package io.llmc.pipeline;

import java.nio.file.Path;
import java.util.List;

/// What a sweep did.
///
/// @param reports one a layer and pass, in order
/// @param resumedBlocks finished blocks that an earlier, interrupted run had left
/// @param weightFiles written
/// @param sideFiles copied
/// @param verifiedTensors compared, after re-opening, with what was in memory
/// @param seconds of the whole sweep
public record SweepResult(
        Path output,
        List<ModuleReport> reports,
        int resumedBlocks,
        List<Path> weightFiles,
        List<Path> sideFiles,
        int verifiedTensors,
        long inputBytes,
        long outputBytes,
        double seconds) {}
