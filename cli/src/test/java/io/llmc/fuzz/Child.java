// SPDX-License-Identifier: Apache-2.0
package io.llmc.fuzz;

import java.io.IOException;
import java.io.PrintStream;
import java.lang.management.ManagementFactory;
import java.nio.ByteBuffer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;

/// Cases in a process of their own, since native code can end it. Whenever that happens the next
/// process goes on behind the case that did it.
///
/// @param marker the file in which the process notes the case that it is at
record Child(Kind kind, long seed, Path saved, Path marker) {
    /// @return findings
    int run(long from, long to, PrintStream out) throws IOException, InterruptedException {
        int findings = 0;
        long at = from;
        while (at < to && findings < 20) {
            Files.write(marker, new byte[Long.BYTES]);
            int exit = start(at, to);
            if (exit == 0 || exit == 1) {
                return findings + exit;
            }
            findings++;
            at = ByteBuffer.wrap(Files.readAllBytes(marker)).getLong() + 1;
            if (exit != Watchdog.GAVE_UP) {
                out.printf(
                        "FINDING %s: the process died with exit code %d%n  again: %s%n",
                        kind.name(), exit, Watchdog.again(kind.name(), seed, at - 1));
            }
        }
        return findings;
    }

    private int start(long from, long to) throws IOException, InterruptedException {
        List<String> words = new ArrayList<>();
        words.add(Path.of(System.getProperty("java.home"), "bin", "java").toString());
        words.addAll(ManagementFactory.getRuntimeMXBean().getInputArguments());
        words.addAll(List.of("-XX:-CreateCoredumpOnCrash", "-XX:ErrorFile=/dev/null"));
        words.addAll(List.of("-cp", System.getProperty("java.class.path"), Fuzz.class.getName()));
        words.addAll(List.of("--kind", kind.name(), "--seed", Long.toString(seed)));
        words.addAll(List.of("--from", Long.toString(from), "--cases", Long.toString(to - from)));
        words.addAll(List.of("--save", saved.toString(), "--marker", marker.toString()));
        return new ProcessBuilder(words).inheritIO().start().waitFor();
    }
}
