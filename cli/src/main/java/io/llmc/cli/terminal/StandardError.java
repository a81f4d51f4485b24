// SPDX-License-Identifier: Apache-2.0
package io.llmc.cli.terminal;

import java.io.FileDescriptor;
import java.io.FileOutputStream;
import java.io.PrintStream;

/// The launcher lends the JVM a filtered standard error, which drops the warning about the
/// incubating Vector API and passes on whatever native code says, and the real one beside it, under
/// another number.
public final class StandardError {
    private static final String NUMBER = "LLMC_STDERR";

    private StandardError() {}

    /// Makes the real one [System#err] again.
    public static void restore() {
        String number = System.getenv(NUMBER);
        if (number == null || !number.matches("[0-9]{1,2}")) {
            return;
        }
        try {
            var constructor = FileDescriptor.class.getDeclaredConstructor(int.class);
            constructor.setAccessible(true);
            FileOutputStream out =
                    new FileOutputStream(constructor.newInstance(Integer.parseInt(number)));
            System.setErr(new PrintStream(out, true, System.err.charset()));
        } catch (ReflectiveOperationException | RuntimeException e) {
            // The filtered one serves as well, only a little later.
        }
    }
}
