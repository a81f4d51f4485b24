// SPDX-License-Identifier: Apache-2.0
package io.llmc.pipeline;

/// Hears how far long work has come; the command line draws it.
public interface Progress {
    /// Hears nothing.
    Progress NONE =
            new Progress() {
                @Override
                public void begin(String task, long total) {}

                @Override
                public void advance(long by, String detail) {}

                @Override
                public void end() {}

                @Override
                public void note(String line) {}
            };

    /// A task of `total` units begins; the one before it has ended.
    void begin(String task, long total);

    /// @param detail what was just finished, for people; may be empty
    void advance(long by, String detail);

    void end();

    /// One line that a person should see whatever the task: a warning, a resumed journal.
    void note(String line);
}
