// SPDX-License-Identifier: Apache-2.0
package io.llmc.pipeline;

import io.llmc.formats.TensorInfo;
import io.llmc.tensor.Scheme;
import java.util.List;
import java.util.Optional;

/// What a sweep will do and write, known before any weight is read.
///
/// @param modules every linear layer of the blocks, in order
/// @param tensors everything that the output will hold, in file order
/// @param inputBytes data bytes of the model's weight files
/// @param outputBytes data bytes of the output's
/// @param inputParameters numbers that the model's weights stand for
/// @param outputParameters numbers that the output's stand for
/// @param peakBytes memory that the run will need outside the Java heap, mapped weights included
/// @param spills whether activations go to disk to keep the memory cap
/// @param notes sentences that the user should see before any work
public record SweepPlan(
        List<Module> modules,
        List<TensorInfo> tensors,
        long inputBytes,
        long outputBytes,
        long inputParameters,
        long outputParameters,
        long peakBytes,
        boolean spills,
        List<String> notes) {

    /// @param scheme empty where it stays plain
    public record Module(
            String name,
            int block,
            long out,
            long in,
            String method,
            Optional<Scheme> scheme,
            long bytes) {}
}
