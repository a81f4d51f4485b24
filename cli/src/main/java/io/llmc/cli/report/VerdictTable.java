// SPDX-License-Identifier: Apache-2.0
package io.llmc.cli.report;

import io.llmc.cli.terminal.Table;
import io.llmc.evaluation.gate.Verdict;
import java.util.List;
import java.util.stream.Collectors;

/// What became of gates, for people.
public final class VerdictTable {
    private VerdictTable() {}

    public static Table of(List<Verdict> verdicts) {
        Table table = new Table("lrl").header("gate", "found", "");
        verdicts.forEach(v -> table.row(v.gate(), v.found(), v.passed() ? "passed" : "missed"));
        return table;
    }

    /// `2 gates passed`, `1 of 2 gates missed: kld_mean is 0.0712, expected < 0.05`
    public static String summary(List<Verdict> verdicts) {
        List<Verdict> missed = verdicts.stream().filter(v -> !v.passed()).toList();
        if (missed.isEmpty()) {
            return verdicts.size() == 1
                    ? "1 gate passed"
                    : "%d gates passed".formatted(verdicts.size());
        }
        return "%d of %d gates missed: %s"
                .formatted(
                        missed.size(),
                        verdicts.size(),
                        missed.stream().map(Verdict::sentence).collect(Collectors.joining("; ")));
    }
}
