// SPDX-License-Identifier: Apache-2.0
package io.llmc.pipeline.sweep;

import io.llmc.backend.Backend;
import io.llmc.formats.FormatException;
import io.llmc.formats.checkpoint.Checkpoint;
import io.llmc.formats.checkpoint.QuantPlan;
import io.llmc.formats.checkpoint.TensorReader;
import io.llmc.formats.safetensors.CheckpointWriter;
import io.llmc.model.arch.Architectures;
import io.llmc.model.language.LanguageModel;
import io.llmc.tensor.Scheme;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.Map;
import java.util.Optional;

/// Opens what was written as a stranger would, and compares it with what was in memory.
final class Verifier {
    private Verifier() {}

    /// Whether these tensors of a directory have these checksums.
    ///
    /// @return the first name that does not, or null
    static String firstDamaged(Checkpoint c, Map<String, Long> checksums) {
        for (Map.Entry<String, Long> e : checksums.entrySet()) {
            try (TensorReader reader = c.reader()) {
                if (!c.has(e.getKey())
                        || CheckpointWriter.checksum(reader.tensor(e.getKey())) != e.getValue()) {
                    return e.getKey();
                }
            }
        }
        return null;
    }

    /// Every tensor against its checksum, then a pass through the whole model against the logits of
    /// the model in memory: the same bits, since the same operations run on the same values.
    ///
    /// @param family that it is read as, as [Checkpoint#open(Path, String)] has it
    /// @return tensors compared
    /// @throws FormatException where anything differs; the directory then keeps its working name
    static int verify(
            Path directory,
            String family,
            Map<String, Long> checksums,
            float[] logits,
            Backend backend) {
        try (Checkpoint written = Checkpoint.open(directory, family)) {
            if (!written.names().equals(checksums.keySet())) {
                throw new FormatException(
                        directory,
                        "read back, it holds %d tensors and not the %d that were written; delete it and"
                                        .formatted(written.names().size(), checksums.size())
                                + " try again");
            }
            String damaged = firstDamaged(written, checksums);
            if (damaged != null) {
                throw new FormatException(
                        directory,
                        "read back, tensor %s is not what was written; check the disk and try again"
                                .formatted(damaged));
            }
            try (LanguageModel model =
                            new LanguageModel(written, Architectures.specOf(written), backend);
                    Probe probe = new Probe(model)) {
                for (int i = 0; i < model.spec().layers().size(); i++) {
                    probe.advance(i);
                }
                if (!Arrays.equals(probe.logits(), logits)) {
                    throw new FormatException(
                            directory,
                            "read back, the model gives other logits than in memory; please report"
                                    + " this");
                }
            }
            return checksums.size();
        }
    }

    /// Whether the config alone, without a look at tensors, says how each layer is quantized.
    ///
    /// @throws FormatException where it says something else than the plan
    static void requireSchemes(Path directory, QuantPlan plan) {
        try (Checkpoint written = Checkpoint.open(directory)) {
            plan.schemes()
                    .byLinear()
                    .forEach((linear, s) -> requireScheme(written, linear, Optional.of(s)));
            plan.plain().forEach(linear -> requireScheme(written, linear, Optional.empty()));
            if (!written.kvCache().equals(plan.schemes().kvCache())) {
                throw new FormatException(
                        directory,
                        "read back, its config says something else of the KV cache than was"
                                + " planned; please report this");
            }
        }
    }

    private static void requireScheme(Checkpoint c, String linear, Optional<Scheme> planned) {
        Optional<Scheme> said = c.scheme(linear);
        if (!said.equals(planned)) {
            throw new FormatException(
                    c.directory(),
                    "read back, its config says of '%s' %s and not %s; please report this"
                            .formatted(linear, describe(said), describe(planned)));
        }
    }

    private static String describe(Optional<Scheme> scheme) {
        return scheme.map(Scheme::describe).orElse("that it is plain");
    }
}
