// SPDX-License-Identifier: Apache-2.0
package io.llmc.model.arch;

import io.llmc.formats.HfConfig;
import io.llmc.formats.UserException;
import io.llmc.formats.checkpoint.Checkpoint;
import java.nio.file.Path;
import java.util.function.Consumer;

/// Opens the models of one command, which may say what those are whose `model_type` llmc does not
/// know.
///
/// @param main the model that the command is about; null for none in particular
/// @param family a `model_type` that llmc knows, or null: models of types that it does not know are
///   read as this one where they fit exactly, see [Fit]
public record Models(Path main, String family) {
    /// Every model is what its config.json says.
    public static final Models AS_THEY_SAY = new Models(null, null);

    /// One model of a command that says nothing of unknown ones.
    public static Models of(Path main) {
        return new Models(main, null);
    }

    /// @throws UserException where llmc does not know the family
    public Models {
        if (family != null && !Architectures.modelTypes().contains(family)) {
            throw new UserException(
                    "{treatAs} names \"%s\", which llmc does not know%s"
                            .formatted(family, Architectures.kin(family)),
                    "llmc architectures lists all that it may name");
        }
    }

    /// As [ModelDirectory#open(Path, Consumer)].
    public Checkpoint open(Path model, Consumer<String> notes) {
        return ModelDirectory.open(model, as(model), notes);
    }

    /// As [ModelDirectory#outline].
    public Checkpoint outline(Path file) {
        return ModelDirectory.outline(file, family(file, HfConfig.read(file)));
    }

    /// What a model is read as; null for what its own config.json says.
    ///
    /// @throws UserException where it is the one that the family was named for, and of another that
    ///   llmc knows
    public String as(Path model) {
        if (family == null) {
            return null;
        }
        try (Checkpoint c = Checkpoint.inspect(model)) {
            return family(model, c.config());
        }
    }

    private String family(Path model, HfConfig config) {
        if (family == null) {
            return null;
        }
        String own = config.text().ownModelType();
        if (!Architectures.modelTypes().contains(own)) {
            return family;
        }
        if (model.equals(main) && !own.equals(family)) {
            throw new UserException(
                    "%s: is a %s, which llmc knows, and no %s".formatted(model, own, family),
                    "leave {treatAs} out");
        }
        return null;
    }
}
