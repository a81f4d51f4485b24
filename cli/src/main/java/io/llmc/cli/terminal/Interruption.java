// SPDX-License-Identifier: Apache-2.0
package io.llmc.cli.terminal;

import java.io.PrintWriter;

/// While open: a person who stops the process hears that nothing is lost.
public final class Interruption implements AutoCloseable {
    private final Thread hook;

    public Interruption(PrintWriter err) {
        hook =
                new Thread(() -> {
                    err.println();
                    err.println(
                            "llmc: interrupted; the same command continues after the last finished"
                                    + " block");
                    err.flush();
                });
        Runtime.getRuntime().addShutdownHook(hook);
    }

    @Override
    public void close() {
        try {
            Runtime.getRuntime().removeShutdownHook(hook);
        } catch (IllegalStateException e) {
            // Too late: the process is ending, and the hook has spoken.
        }
    }
}
