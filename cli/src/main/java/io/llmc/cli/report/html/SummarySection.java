// SPDX-License-Identifier: Apache-2.0
package io.llmc.cli.report.html;

import io.llmc.evaluation.Drift;
import io.llmc.evaluation.EvalResult;
import io.llmc.evaluation.EvalResult.Comparison;
import io.llmc.evaluation.EvalResult.Measured;
import io.llmc.evaluation.EvalSpec;
import io.llmc.evaluation.PerplexityRatio;
import io.llmc.evaluation.gate.Verdict;
import io.llmc.evaluation.latency.LatencyResult;
import io.llmc.evaluation.latency.LatencyResult.Decoding;
import io.llmc.pipeline.ByteSize;
import java.nio.file.Path;
import java.util.List;
import java.util.Optional;

/// The page's head: what was measured, and in words what came out.
record SummarySection(
        Path model,
        Optional<EvalResult> result,
        Optional<LatencyResult> latency,
        List<Verdict> verdicts) {
    String html() {
        Page page = new Page();
        page.text("h1", model.toString());
        result.ifPresent(r -> {
            page.text("p class=\"sub\"", heading(r));
            page.text("p class=\"lead\"", size(r) + quality(r));
            tiles(page, r);
        });
        latency.filter(r -> !r.decodings().isEmpty())
                .ifPresent(r -> page.text("p class=\"lead\"", speed(r.decodings().getFirst())));
        gates(page);
        return page.toString();
    }

    private static String heading(EvalResult r) {
        EvalSpec spec = r.spec();
        String with =
                spec.against() != null
                        ? "compared with %s, ".formatted(spec.against())
                        : spec.kldBase() != null
                                ? "compared with the predictions in %s, ".formatted(spec.kldBase())
                                : "";
        String text = spec.data() == null ? "" : "on %s, ".formatted(spec.data());
        return "%s%s%,d tokens scored in %,d windows of %,d (%s)"
                .formatted(
                        with,
                        text,
                        r.tokens(),
                        r.windows(),
                        spec.window(),
                        spec.convention().label());
    }

    private static String size(EvalResult r) {
        Measured m = r.model();
        String own =
                "Its weights take %s, %.2f bits each"
                        .formatted(ByteSize.format(m.size().bytes()), m.size().bitsPerWeight());
        if (r.original() == null) {
            return own + ". ";
        }
        Measured o = r.original();
        double times = (double) o.size().bytes() / m.size().bytes();
        return "%s; the original's take %s, %.2f bits each: %s. "
                .formatted(
                        own,
                        ByteSize.format(o.size().bytes()),
                        o.size().bitsPerWeight(),
                        times >= 1
                                ? "%.2f times more".formatted(times)
                                : "%.2f times less".formatted(1 / times));
    }

    private static String quality(EvalResult r) {
        Comparison c = r.comparison();
        if (c == null) {
            return "Its perplexity is %.4f.".formatted(r.model().perplexity());
        }
        PerplexityRatio ratio = c.ratio();
        double change = ratio.value() - 1;
        boolean known = ratio.low() > 1 || ratio.high() < 1;
        Drift drift = c.drift();
        return "Its perplexity is %.4f, the original's %.4f: %s %s, 95 %% interval %s to %s%s. "
                        .formatted(
                                r.model().perplexity(),
                                c.original().value(),
                                Numbers.percent(Math.abs(change)),
                                change >= 0 ? "more" : "less",
                                signed(ratio.low() - 1),
                                signed(ratio.high() - 1),
                                known ? "" : ", so this text does not tell them apart")
                + "A prediction moved by %s nats in the mean and by less than %s for half of the tokens; for %s of them both find the same token the likeliest."
                        .formatted(
                                Numbers.shortest(drift.divergence().mean()),
                                Numbers.shortest(Math.max(0, drift.divergence().median())),
                                Numbers.percent(drift.top1()));
    }

    private static String speed(Decoding d) {
        String own =
                "Behind %,d tokens it decodes %s tokens a second"
                        .formatted(d.depth(), Numbers.shortest(d.model().tokensPerSecond()));
        return d.speedup() == null
                ? own + "."
                : "%s, %.2f times as many as the original (95 %% interval %.2f to %.2f)."
                        .formatted(own, d.speedup().ratio(), d.speedup().low(), d.speedup().high());
    }

    private static String signed(double share) {
        return (share > 0 ? "+" : "") + Numbers.percent(share);
    }

    private static void tiles(Page page, EvalResult r) {
        page.open("div class=\"tiles\"");
        if (r.original() != null) {
            double share = (double) r.model().size().bytes() / r.original().size().bytes();
            tile(page, "%.1f %%".formatted(100 * share), "of the original's size");
        }
        tile(page, "%.2f".formatted(r.model().size().bitsPerWeight()), "bits a weight");
        Comparison c = r.comparison();
        if (c == null) {
            tile(page, "%.4f".formatted(r.model().perplexity()), "perplexity");
        } else {
            tile(page, "%.4f".formatted(c.ratio().value()), "perplexity ratio");
            tile(page, Numbers.shortest(c.drift().divergence().mean()), "mean KL divergence, nats");
            tile(page, "%.1f %%".formatted(100 * c.drift().top1()), "same top token");
        }
        page.close("div");
    }

    private static void tile(Page page, String figure, String name) {
        page.open("div class=\"tile\"").text("b", figure).text("span", name).close("div");
    }

    private void gates(Page page) {
        if (verdicts.isEmpty()) {
            return;
        }
        long passed = verdicts.stream().filter(Verdict::passed).count();
        page.text("h3", "%d of %d gates passed".formatted(passed, verdicts.size()));
        page.open("table").open("tbody");
        for (Verdict v : verdicts) {
            page.open("tr")
                    .text("td", v.gate().toString())
                    .text("td class=\"r\"", v.found())
                    .text(
                            v.passed() ? "td class=\"passed\"" : "td class=\"missed\"",
                            v.passed() ? "passed" : "missed")
                    .close("tr");
        }
        page.close("tbody").close("table");
    }
}
