// SPDX-License-Identifier: Apache-2.0
package io.llmc.cli;

import io.llmc.pipeline.generation.GenerationListener;

/// Shows one text as it comes.
record Streamed(Console console, Pace pace) implements GenerationListener {
    @Override
    public void token(int prompt, int id) {
        pace.token(prompt, id);
    }

    @Override
    public void text(int prompt, String piece) {
        console.piece(piece);
    }
}
