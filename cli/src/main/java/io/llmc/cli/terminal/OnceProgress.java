// SPDX-License-Identifier: Apache-2.0
package io.llmc.cli.terminal;

import io.llmc.pipeline.Progress;
import java.util.HashSet;
import java.util.Set;

/// Passes every note on once: a plan and the work after it open the same model.
public final class OnceProgress implements Progress {
    private final Progress progress;
    private final Set<String> noted = new HashSet<>();

    public OnceProgress(Progress progress) {
        this.progress = progress;
    }

    @Override
    public void begin(String task, long total) {
        progress.begin(task, total);
    }

    @Override
    public void advance(long by, String detail) {
        progress.advance(by, detail);
    }

    @Override
    public void end() {
        progress.end();
    }

    @Override
    public synchronized void note(String line) {
        if (noted.add(line)) {
            progress.note(Spelling.asFlags(line));
        }
    }
}
