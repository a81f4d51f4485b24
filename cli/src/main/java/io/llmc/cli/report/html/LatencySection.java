// SPDX-License-Identifier: Apache-2.0
package io.llmc.cli.report.html;

import io.llmc.cli.terminal.Table;
import io.llmc.evaluation.latency.LatencyResult;
import io.llmc.evaluation.latency.Speedup;
import io.llmc.evaluation.latency.Timing;
import java.util.ArrayList;
import java.util.List;

/// Tokens a second.
///
/// @param tables as on the terminal
record LatencySection(LatencyResult result, List<Table> tables) {
    String html() {
        List<Bars.Pair> pairs = new ArrayList<>();
        result.prompts()
                .forEach(p ->
                        pairs.add(
                                pair(
                                        "prompt of %,d".formatted(p.length()),
                                        p.model(),
                                        p.original(),
                                        p.speedup())));
        List<Bars.Pair> decoding = new ArrayList<>();
        result.decodings()
                .forEach(d ->
                        decoding.add(
                                pair(
                                        "%,d cached, batch %d".formatted(d.depth(), d.batch()),
                                        d.model(),
                                        d.original(),
                                        d.speedup())));
        Page page = new Page();
        page.text(
                "p class=\"note\"",
                "Measured on %s; medians, with the slowest and the fastest."
                        .formatted(result.machine().title()));
        chart(page, "Prefill, tokens a second.", pairs);
        chart(page, "Decoding, tokens a second.", decoding);
        page.legend(
                result.original() == null
                        ? new String[] {"model", "model"}
                        : new String[] {"model", "model", "original", "original"});
        page.open("details").text("summary", "All figures");
        tables.stream().filter(table -> !table.isEmpty()).forEach(page::table);
        return page.close("details").section("Speed");
    }

    private static void chart(Page page, String caption, List<Bars.Pair> pairs) {
        if (!pairs.isEmpty()) {
            page.figure(caption, new Bars(caption, pairs).svg());
        }
    }

    private static Bars.Pair pair(String label, Timing model, Timing original, Speedup speedup) {
        return new Bars.Pair(
                label,
                bar(model),
                original == null ? null : bar(original),
                speedup == null ? "" : "%.2f x".formatted(speedup.ratio()));
    }

    private static Bars.Bar bar(Timing t) {
        return new Bars.Bar(
                t.tokensPerSecond(),
                t.slowest(),
                t.fastest(),
                Numbers.shortest(t.tokensPerSecond()));
    }
}
