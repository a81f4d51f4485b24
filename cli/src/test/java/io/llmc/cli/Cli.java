// SPDX-License-Identifier: Apache-2.0
package io.llmc.cli;

import java.io.BufferedReader;
import java.io.PrintWriter;
import java.io.StringReader;
import java.io.StringWriter;
import java.nio.file.Path;

/// One run of the command line inside the test's own process.
public record Cli(int exit, String out, String err) {
    /// The repository's bundled files; tests run in its root.
    public static final Path TESTDATA = Path.of("testdata");

    static final Path TALE_LLAMA = TESTDATA.resolve("tale-llama");
    static final Path TINY_LLAMA = TESTDATA.resolve("tiny-llama");

    static Cli run(Object... args) {
        return saying("", args);
    }

    /// @param input standard input
    static Cli saying(String input, Object... args) {
        StringWriter out = new StringWriter();
        StringWriter err = new StringWriter();
        Wiring wiring =
                new Wiring(
                        new BufferedReader(new StringReader(input)),
                        new PrintWriter(out),
                        new PrintWriter(err),
                        0,
                        "test");
        String[] words = new String[args.length];
        for (int i = 0; i < args.length; i++) {
            words[i] = args[i].toString();
        }
        int exit = Llmc.commandLine(wiring).execute(words);
        return new Cli(exit, out.toString(), err.toString());
    }
}
