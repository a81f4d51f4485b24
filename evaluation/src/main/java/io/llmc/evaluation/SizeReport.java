// SPDX-License-Identifier: Apache-2.0
package io.llmc.evaluation;

import io.llmc.formats.TensorInfo;
import io.llmc.formats.checkpoint.Checkpoint;
import io.llmc.formats.checkpoint.Layouts;
import io.llmc.formats.checkpoint.TensorReader;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.SequencedMap;

/// What a checkpoint weighs. Reads headers only, and the shapes that compressed-tensors keeps
/// beside packed weights.
///
/// @param bytes of the weight files
/// @param tensorBytes of the tensors in them, without buffers that are no parameters
/// @param parameters a packed linear layer counts as `out * in`, its scales and zero points as none
public record SizeReport(long bytes, long tensorBytes, long parameters) {
    public static SizeReport of(Checkpoint c) {
        long tensorBytes = 0;
        long parameters = 0;
        try (TensorReader reader = c.reader()) {
            for (String name : c.names()) {
                TensorInfo info = c.info(name);
                if (!isBuffer(info)) {
                    tensorBytes += c.bytes(name);
                    parameters += Layouts.parameters(reader, info);
                }
            }
        }
        return new SizeReport(fileBytes(c), tensorBytes, parameters);
    }

    private static long fileBytes(Checkpoint c) {
        long bytes = 0;
        for (Path file : c.weightFiles()) {
            try {
                bytes += Files.size(file);
            } catch (IOException e) {
                throw new UncheckedIOException(e);
            }
        }
        return bytes;
    }

    /// Causal masks and rotary frequencies, which old checkpoints hold.
    private static boolean isBuffer(TensorInfo info) {
        String name = info.name();
        return name.endsWith("rotary_emb.inv_freq")
                || name.endsWith(".masked_bias")
                || name.endsWith("attn.bias") && info.shape().rank() == 4
                || name.endsWith("attention.bias") && info.shape().rank() == 4;
    }

    /// Bits of all tensors for each parameter, scales and zero points included.
    public double bitsPerWeight() {
        return 8.0 * tensorBytes / parameters;
    }

    /// `bytes`, `parameters`, `bits_per_weight`.
    public SequencedMap<String, Object> toMap() {
        SequencedMap<String, Object> map = new LinkedHashMap<>();
        map.put("bytes", bytes);
        map.put("parameters", parameters);
        map.put("bits_per_weight", bitsPerWeight());
        return map;
    }
}
