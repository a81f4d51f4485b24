// SPDX-License-Identifier: Apache-2.0
package io.llmc.pipeline.sweep;

import com.fasterxml.jackson.databind.node.ObjectNode;
import io.llmc.backend.Backend;
import io.llmc.formats.FormatException;
import io.llmc.formats.HfConfig;
import io.llmc.formats.TensorInfo;
import io.llmc.formats.checkpoint.Checkpoint;
import io.llmc.formats.checkpoint.TensorReader;
import io.llmc.formats.safetensors.CheckpointWriter;
import io.llmc.model.arch.Architectures;
import io.llmc.model.language.LanguageModel;
import io.llmc.pipeline.Finite;
import io.llmc.tensor.Tensor;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Optional;
import java.util.SequencedMap;

/// Writes a checkpoint that is made of another one, tensor by tensor, then opens it as a stranger
/// would.
public final class CheckpointCopy {
    private CheckpointCopy() {}

    /// Writes weights and config. What is read back must have the same checksums, and give the same
    /// logits as what was in memory.
    ///
    /// @throws FormatException where anything differs
    public static void write(Checkpoint made, Path directory, long shardSize, Backend backend) {
        List<TensorInfo> plan = made.names().stream().map(made::info).toList();
        SequencedMap<String, Long> checksums = new LinkedHashMap<>();
        try (CheckpointWriter writer =
                CheckpointWriter.create(directory, plan, shardSize, made.stacks(), false)) {
            for (TensorInfo info : plan) {
                // A reader of its own for each tensor: what was made for it goes with it.
                try (TensorReader reader = made.reader(backend.host())) {
                    Tensor t = reader.tensor(info.name());
                    Finite.requireWritable(made.config(), info.name(), t);
                    writer.write(info.name(), t);
                    checksums.put(info.name(), CheckpointWriter.checksum(t));
                }
            }
            writer.finish();
        }
        config(made).write(directory.resolve("config.json"));
        String family = made.config().treatedAs().orElse(null);
        Verifier.verify(directory, family, checksums, logits(made, backend), backend);
    }

    /// With what older GPTQ tools left in a file of its own.
    private static HfConfig config(Checkpoint made) {
        HfConfig config = made.config();
        Optional<ObjectNode> packed = made.quantization();
        return config.quantization().isPresent() || packed.isEmpty()
                ? config
                : config.with("quantization_config", packed.get());
    }

    private static float[] logits(Checkpoint made, Backend backend) {
        try (LanguageModel model = new LanguageModel(made, Architectures.specOf(made), backend);
                Probe probe = new Probe(model)) {
            for (int i = 0; i < model.spec().layers().size(); i++) {
                probe.advance(i);
            }
            return probe.logits();
        }
    }
}
