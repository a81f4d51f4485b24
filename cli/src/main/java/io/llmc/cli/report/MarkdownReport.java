// SPDX-License-Identifier: Apache-2.0
package io.llmc.cli.report;

import io.llmc.cli.terminal.Table;
import io.llmc.evaluation.gate.Verdict;
import java.nio.file.Path;
import java.util.List;
import java.util.stream.Collectors;

/// What was measured as Markdown, as summaries of CI jobs show it.
///
/// @param tables as on the terminal
public record MarkdownReport(Path model, List<Table> tables, List<Verdict> verdicts) {
    public String text() {
        String all = tables.stream().map(Table::markdown).collect(Collectors.joining("\n"));
        String title = "## llmc eval: %s\n\n".formatted(Table.plain(model.toString()));
        if (verdicts.isEmpty()) {
            return title + all;
        }
        return title
                + "**%s**\n\n%s\n"
                        .formatted(
                                Table.plain(VerdictTable.summary(verdicts)),
                                VerdictTable.of(verdicts).markdown())
                + all;
    }
}
