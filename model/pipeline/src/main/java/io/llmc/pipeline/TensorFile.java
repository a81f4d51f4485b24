// SPDX-License-Identifier: Apache-2.0
package io.llmc.pipeline;

import io.llmc.formats.Checkpoint;
import io.llmc.formats.CheckpointWriter;
import io.llmc.formats.FormatException;
import io.llmc.formats.TensorInfo;
import io.llmc.tensor.Tensor;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.SequencedMap;

/// Writes one safetensors file that is no model on its own, then opens it as a stranger would.
public final class TensorFile {
    private TensorFile() {}

    /// What is read back must have the same names, types, shapes and checksums.
    ///
    /// @param tensors in host memory
    /// @throws FormatException where anything differs
    public static void write(Path file, SequencedMap<String, Tensor> tensors) {
        List<TensorInfo> plan =
                tensors.entrySet().stream().map(e -> info(e.getKey(), e.getValue())).toList();
        SequencedMap<String, Long> checksums = new LinkedHashMap<>();
        try (CheckpointWriter writer = CheckpointWriter.createFile(file, plan)) {
            for (Map.Entry<String, Tensor> e : tensors.entrySet()) {
                writer.write(e.getKey(), e.getValue());
                checksums.put(e.getKey(), CheckpointWriter.checksum(e.getValue()));
            }
            writer.finish();
        }
        try (Checkpoint written = Checkpoint.ofFile(file)) {
            if (!written.names().equals(checksums.keySet())
                    || !plan.stream().allMatch(t -> written.info(t.name()).equals(t))) {
                throw new FormatException(
                        file,
                        "read back, it does not hold the tensors that were written; please report"
                                + " this");
            }
            String damaged = Verifier.firstDamaged(written, checksums);
            if (damaged != null) {
                throw new FormatException(
                        file,
                        "read back, tensor %s is not what was written; check the disk and try again"
                                .formatted(damaged));
            }
        }
    }

    private static TensorInfo info(String name, Tensor t) {
        return new TensorInfo(name, t.dtype(), t.shape());
    }
}
