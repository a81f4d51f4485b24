// SPDX-License-Identifier: Apache-2.0
package io.llmc.evaluation;

import io.llmc.formats.Checkpoint;
import io.llmc.formats.TensorInfo;
import io.llmc.formats.TensorReader;
import io.llmc.tensor.DType;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.lang.foreign.ValueLayout;
import java.nio.ByteOrder;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.SequencedMap;

/// What a checkpoint weighs. Reads headers only, and the shapes that compressed-tensors keeps
/// beside packed weights.
///
/// @param bytes of the weight files
/// @param tensorBytes of the tensors in them, without buffers that are no parameters
/// @param parameters a packed linear layer counts as `out * in`, its scales and zero points as none
public record SizeReport(long bytes, long tensorBytes, long parameters) {
    private static final ValueLayout.OfLong I64 =
            ValueLayout.JAVA_LONG_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);

    /// What stands beside a packed or scaled weight and is no parameter itself.
    private static final List<String> COMPANIONS =
            List.of(
                    ".qzeros",
                    ".scales",
                    ".g_idx",
                    ".weight_scale",
                    ".weight_scale_inv",
                    ".weight_zero_point",
                    ".weight_global_scale",
                    ".weight_g_idx",
                    ".weight_shape",
                    ".input_scale",
                    ".input_zero_point",
                    ".input_global_scale",
                    ".output_scale",
                    ".k_scale",
                    ".v_scale");

    public static SizeReport of(Checkpoint c) {
        long tensorBytes = 0;
        long parameters = 0;
        try (TensorReader reader = c.reader()) {
            for (String name : c.names()) {
                TensorInfo info = c.info(name);
                if (!isBuffer(info)) {
                    tensorBytes += c.bytes(name);
                    parameters += parameters(c, reader, info);
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

    private static long parameters(Checkpoint c, TensorReader reader, TensorInfo info) {
        String name = info.name();
        if (COMPANIONS.stream().anyMatch(name::endsWith)) {
            return 0;
        }
        if (name.endsWith(".weight_packed")) {
            String shape = name.substring(0, name.length() - "_packed".length()) + "_shape";
            if (c.has(shape)
                    && c.info(shape).dtype() == DType.I64
                    && c.info(shape).shape().size() == 2) {
                var dims = reader.tensor(shape).bytes();
                return Math.multiplyExact(dims.get(I64, 0), dims.get(I64, 8));
            }
        }
        if (name.endsWith(".qweight")) {
            // Codes fill whole 32-bit words, so their number follows from the bits, either way
            // round.
            int bits = c.quantization().map(q -> q.path("bits").asInt(4)).orElse(4);
            return info.byteSize() * 8 / Math.max(1, bits);
        }
        return info.shape().size();
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
