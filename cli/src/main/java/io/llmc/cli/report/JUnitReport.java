// SPDX-License-Identifier: Apache-2.0
package io.llmc.cli.report;

import io.llmc.cli.report.html.Markup;
import io.llmc.evaluation.gate.Verdict;
import java.util.List;

/// Gates as the XML that JUnit's Ant task began and that every CI system reads: a suite, a case a
/// gate.
///
/// @param suite what was measured
/// @param seconds that it took
public record JUnitReport(String suite, List<Verdict> verdicts, double seconds) {
    public String xml() {
        long missed = verdicts.stream().filter(v -> !v.passed()).count();
        String counts =
                "tests=\"%d\" failures=\"%d\" errors=\"0\" skipped=\"0\" time=\"%s\""
                        .formatted(verdicts.size(), missed, "%.3f".formatted(seconds));
        StringBuilder xml = new StringBuilder("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
        xml.append("<testsuites name=\"llmc eval\" %s>\n".formatted(counts));
        xml.append("  <testsuite name=\"%s\" %s>\n".formatted(Markup.escape(suite), counts));
        verdicts.forEach(verdict -> append(xml, verdict));
        return xml.append("  </testsuite>\n</testsuites>\n").toString();
    }

    private void append(StringBuilder xml, Verdict verdict) {
        xml.append(
                "    <testcase classname=\"%s\" name=\"%s\" time=\"0\""
                        .formatted(Markup.escape(suite), Markup.escape(verdict.gate().toString())));
        String found = Markup.escape(verdict.sentence());
        xml.append(
                verdict.passed()
                        ? ">\n      <system-out>%s</system-out>\n    </testcase>\n".formatted(found)
                        : ">\n      <failure type=\"gate\" message=\"%s\">%s</failure>\n    </testcase>\n"
                                .formatted(found, found));
    }
}
