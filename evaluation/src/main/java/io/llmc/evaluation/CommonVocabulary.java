// SPDX-License-Identifier: Apache-2.0
package io.llmc.evaluation;

import io.llmc.formats.UserException;
import io.llmc.formats.checkpoint.Checkpoint;
import io.llmc.pipeline.Progress;
import io.llmc.tokenizer.Vocabulary;
import java.nio.file.Path;

/// The ids that two models both predict: tables that differ by padding alone can be compared.
public final class CommonVocabulary {
    private static final String TOKENIZER = "tokenizer.json";

    private CommonVocabulary() {}

    /// How many of the first ids both have.
    ///
    /// @param ours ids that the model predicts
    /// @param theirs ids that the original predicts
    /// @throws UserException where they differ by more than padding
    public static int of(
            Checkpoint model, int ours, Checkpoint original, int theirs, Progress progress) {
        if (ours == theirs) {
            return ours;
        }
        Path own = model.directory();
        Path other = original.directory();
        try {
            int common =
                    Vocabulary.common(
                            own.resolve(TOKENIZER), ours, other.resolve(TOKENIZER), theirs);
            progress.note(Vocabulary.note(ours, theirs));
            return common;
        } catch (UserException e) {
            throw new UserException(
                    "%s has a vocabulary of %,d tokens, %s one of %,d, and they differ by more than padding (%s): their predictions cannot be compared"
                            .formatted(own, ours, other, theirs, e.getMessage()),
                    "name the model that this one was made from");
        }
    }
}
