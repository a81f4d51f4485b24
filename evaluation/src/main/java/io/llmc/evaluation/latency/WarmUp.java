// SPDX-License-Identifier: Apache-2.0
package io.llmc.evaluation.latency;

import java.lang.management.CompilationMXBean;
import java.lang.management.ManagementFactory;

/// Work before anything is measured, until a while is over and kernels are compiled.
///
/// @param nanos that it takes at least
public record WarmUp(long nanos) {
    public static final WarmUp USUAL = new WarmUp(3_000_000_000L);

    /// As many times as long at most, where the compiler has no end.
    private static final int MOST = 10;

    private static final int FEWEST_ROUNDS = 2;

    /// Rounds in a row in which the compiler does less than this part of their time: one alone may
    /// lie within the compilation of a large kernel.
    private static final int QUIET_ROUNDS = 2;

    private static final double QUIET = 0.05;

    /// @param round what is to be measured
    public void run(Runnable round) {
        long begun = System.nanoTime();
        int quiet = 0;
        for (int i = 0; i < FEWEST_ROUNDS || goesOn(System.nanoTime() - begun, quiet); i++) {
            long from = System.nanoTime();
            long compiled = compilerNanos();
            round.run();
            double time = System.nanoTime() - from;
            quiet = compilerNanos() - compiled < QUIET * time ? quiet + 1 : 0;
        }
    }

    private boolean goesOn(long spent, int quiet) {
        return spent < nanos || quiet < QUIET_ROUNDS && spent < MOST * nanos;
    }

    /// What compilers have worked so far, all threads together; 0 where a JVM does not count it.
    private static long compilerNanos() {
        CompilationMXBean compiler = ManagementFactory.getCompilationMXBean();
        return compiler != null && compiler.isCompilationTimeMonitoringSupported()
                ? 1_000_000 * compiler.getTotalCompilationTime()
                : 0;
    }
}
