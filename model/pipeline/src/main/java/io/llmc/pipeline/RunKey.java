// SPDX-License-Identifier: Apache-2.0
package io.llmc.pipeline;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.json.JsonMapper;
import io.llmc.formats.Sha256;

/// What makes two runs of a step the same, so that one may go on from what the other has left: the
/// command, the version of llmc, and the content of everything that decides.
///
/// @param head the command and the version, which are known at once
/// @param inputs whose SHA-256 sums are taken in the background
public record RunKey(Journal.Head head, Inputs inputs) {
    private static final JsonMapper JSON = new JsonMapper();

    /// @param step one of the run's recipe
    static RunKey of(RecipeRun run, Step step) {
        try {
            String text = JSON.writeValueAsString(Provenance.essence(run.recipe()));
            int index = run.recipe().steps().indexOf(step);
            String command = Sha256.of(index + run.version() + text);
            return new RunKey(new Journal.Head(command, run.version()), run.inputs());
        } catch (JsonProcessingException e) {
            throw new IllegalStateException(e);
        }
    }
}
