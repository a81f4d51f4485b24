// SPDX-License-Identifier: Apache-2.0
package io.llmc.cli.report.html;

import io.llmc.cli.report.html.Svg.Anchor;
import io.llmc.evaluation.Distribution;
import io.llmc.evaluation.Drift;
import io.llmc.evaluation.EvalDetail.Positions;
import io.llmc.evaluation.EvalResult;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.stream.DoubleStream;

/// How far predictions are from the original's: by position in a window, and over tokens.
record DivergenceSection(EvalResult result) {
    private static final double BOTTOM = 210;

    /// Points of a line at most.
    private static final int POINTS = 90;

    /// What 16 bits of a base cannot tell from 0.
    private static final double LEAST = 1e-7;

    private static final int BINS_A_DECADE = 4;
    private static final int CHANGE_BINS = 40;

    String html() {
        Positions positions = result.detail().positions();
        Page page = new Page();
        if (result.comparison() == null) {
            return page.figure("Mean loss by the tokens that the model sees.", losses(positions))
                    .section("Where it does well");
        }
        Drift drift = result.comparison().drift();
        page.figure(
                "KL divergence by token, over a logarithmic axis: how many tokens moved how far.",
                histogram(drift.divergence()));
        page.figure(
                "Change of the probability of the token that came. The share of tokens is logarithmic. Noise moves as many up as down; what was forgotten moves down.",
                changes(drift.change()));
        page.figure(
                "Mean KL divergence by the tokens that the model sees.",
                line(
                        "KL divergence by position",
                        "nats",
                        positions.first(),
                        positions.divergence(),
                        null));
        page.figure("Mean loss by the tokens that the model sees.", losses(positions));
        page.legend("model", "model", "original", "original");
        return page.html(table(drift)).section("Divergence from the original");
    }

    private static String losses(Positions p) {
        return line("loss by position", "nats", p.first(), p.loss(), p.originalLoss());
    }

    /// @param theirs null for none
    private static String line(
            String title, String unit, int first, double[] ours, double[] theirs) {
        int step = Math.ceilDiv(ours.length, POINTS);
        double[] a = means(ours, step);
        double[] b = theirs == null ? null : means(theirs, step);
        double most =
                DoubleStream.concat(
                                Arrays.stream(a),
                                b == null ? DoubleStream.empty() : Arrays.stream(b))
                        .max()
                        .orElseThrow();
        Scale x =
                new Scale(
                        first,
                        first + Math.max(1, ours.length - 1),
                        Frame.LEFT,
                        Frame.RIGHT,
                        false);
        Scale y = Scale.linear(0, Math.max(most, 1e-9), BOTTOM, Frame.TOP + 8);
        Frame frame = Frame.of(title, x, "tokens seen", Numbers::tick, y, unit, Numbers::tick);
        double[] xs = new double[a.length];
        for (int i = 0; i < xs.length; i++) {
            double middle = Math.min(i * step + (step - 1) / 2.0, ours.length - 1);
            xs[i] = x.at(first + middle);
        }
        if (b != null) {
            frame.svg().path("original", xs, Arrays.stream(b).map(y::at).toArray());
        }
        frame.svg().path("model", xs, Arrays.stream(a).map(y::at).toArray());
        return frame.svg().end();
    }

    private static double[] means(double[] values, int step) {
        double[] means = new double[Math.ceilDiv(values.length, step)];
        for (int i = 0; i < means.length; i++) {
            means[i] =
                    Arrays.stream(values, i * step, Math.min(values.length, (i + 1) * step))
                            .average()
                            .orElseThrow();
        }
        return means;
    }

    private static String histogram(Distribution kld) {
        Scale x = Scale.log(LEAST, Math.max(kld.max(), 100 * LEAST), Frame.LEFT, Frame.RIGHT);
        int bins = BINS_A_DECADE * (int) Math.round(Math.log10(x.high() / x.low()));
        double[] shares = new double[bins];
        for (float value : kld.sorted()) {
            double decades = Math.log10(Math.max(value, LEAST) / x.low());
            int bin = Math.clamp((int) (decades * BINS_A_DECADE), 0, bins - 1);
            shares[bin] += 1.0 / kld.sorted().length;
        }
        Scale y =
                Scale.linear(
                        0, 100 * Arrays.stream(shares).max().orElseThrow(), BOTTOM, Frame.TOP + 8);
        Frame frame =
                Frame.of(
                        "tokens by KL divergence",
                        x,
                        "KL divergence of a token, nats (what is below 1e-07 is in the first bar)",
                        Numbers::power,
                        y,
                        "% of tokens",
                        Numbers::tick);
        double width = (x.to() - x.from()) / bins;
        for (int i = 0; i < bins; i++) {
            double low = x.low() * Math.pow(10, (double) i / BINS_A_DECADE);
            double high = x.low() * Math.pow(10, (i + 1.0) / BINS_A_DECADE);
            bar(frame, x.from() + i * width, width, 100 * shares[i], low, high, " nats");
        }
        mark(frame, kld.mean(), "mean");
        mark(frame, kld.quantile(0.99), "99 %");
        return frame.svg().end();
    }

    private static void bar(
            Frame frame,
            double x,
            double width,
            double share,
            double low,
            double high,
            String unit) {
        double top = frame.y().at(share);
        if (share > 0) {
            frame.svg()
                    .rect(
                            "model",
                            x + 1,
                            top,
                            width - 2,
                            frame.y().from() - top,
                            "%s %% of tokens: %s to %s%s"
                                    .formatted(
                                            Numbers.shortest(share),
                                            Numbers.shortest(low),
                                            Numbers.shortest(high),
                                            unit));
        }
    }

    private static void mark(Frame frame, double figure, String name) {
        double x = frame.x().at(Math.max(figure, LEAST));
        frame.svg().line("whisker", x, Frame.TOP + 8, x, frame.y().from());
        frame.svg().text("end", x + 5, Frame.TOP + 18, Anchor.START, name);
    }

    private static String changes(Distribution change) {
        int n = change.sorted().length;
        double most = Math.max(Math.abs(change.quantile(0.001)), Math.abs(change.quantile(0.999)));
        double end = Scale.linear(0, Math.max(100 * most, 0.01), 0, 1).high();
        double[] shares = new double[CHANGE_BINS];
        for (float value : change.sorted()) {
            double at = (100 * value + end) / (2 * end) * CHANGE_BINS;
            shares[Math.clamp((int) at, 0, CHANGE_BINS - 1)] += 100.0 / n;
        }
        Scale x = new Scale(-end, end, Frame.LEFT, Frame.RIGHT, false);
        Scale y = Scale.log(Math.max(50.0 / n, 1e-4), 100, BOTTOM, Frame.TOP + 8);
        Frame frame =
                Frame.of(
                        "tokens by change of probability",
                        x,
                        "change of probability, points of percent (what is beyond is in the last bars)",
                        Numbers::tick,
                        y,
                        "% of tokens",
                        Numbers::power);
        double width = (x.to() - x.from()) / CHANGE_BINS;
        for (int i = 0; i < CHANGE_BINS; i++) {
            double low = -end + 2 * end * i / CHANGE_BINS;
            bar(
                    frame,
                    x.from() + i * width,
                    width,
                    shares[i],
                    low,
                    low + 2 * end / CHANGE_BINS,
                    " %");
        }
        return frame.svg().end();
    }

    private static String table(Drift drift) {
        List<List<String>> rows = new ArrayList<>();
        Distribution kld = drift.divergence();
        Distribution change = drift.change();
        rows.add(row("mean", kld.mean(), change.mean()));
        rows.add(row("its standard error", kld.error(), change.error()));
        rows.add(List.of("root mean square", "", Numbers.percent(drift.rms())));
        rows.add(row("maximum", kld.max(), change.max()));
        for (double p : Drift.CHANGE_PERCENTS) {
            boolean both = Drift.DIVERGENCE_PERCENTS.contains(p);
            rows.add(
                    List.of(
                            p == 50 ? "median" : Numbers.shortest(p) + " %",
                            both ? Numbers.shortest(kld.quantile(p / 100)) : "",
                            Numbers.percent(change.quantile(p / 100))));
        }
        rows.add(row("minimum", kld.min(), change.min()));
        return new Page()
                .open("details")
                .text("summary", "All figures")
                .table(
                        "lrr",
                        List.of("of all tokens", "KL divergence, nats", "change of probability"),
                        rows)
                .close("details")
                .toString();
    }

    private static List<String> row(String name, double kld, double change) {
        return List.of(name, Numbers.shortest(kld), Numbers.percent(change));
    }
}
