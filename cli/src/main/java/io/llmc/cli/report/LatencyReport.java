// SPDX-License-Identifier: Apache-2.0
package io.llmc.cli.report;

import io.llmc.cli.terminal.Table;
import io.llmc.evaluation.latency.LatencyResult;
import io.llmc.evaluation.latency.LatencyResult.Decoding;
import io.llmc.evaluation.latency.LatencyResult.Prompt;
import io.llmc.evaluation.latency.Speedup;
import io.llmc.evaluation.latency.Timing;
import io.llmc.pipeline.ByteSize;
import io.llmc.pipeline.plan.Arithmetic;
import java.util.ArrayList;
import java.util.List;

/// How fast a model is, for people: a line for each length of prompts, and for each depth and batch
/// of decoding.
public record LatencyReport(LatencyResult result) {
    public List<Table> tables() {
        boolean compared = result.original() != null;
        Table speed = new Table(compared ? "lrrrrr" : "lrr");
        if (compared) {
            speed.header(
                    "tokens a second", "model", "roofline", "original", "roofline", "speed-up");
        } else {
            speed.header("tokens a second", "model", "roofline");
        }
        Table steps = new Table(compared ? "lrrrrrr" : "lrrr");
        List<Object> head = new ArrayList<>(List.of("ms a step", "p50", "p90", "p99"));
        if (compared) {
            head.addAll(List.of("original p50", "p90", "p99"));
        }
        steps.header(head.toArray());
        for (Prompt p : result.prompts()) {
            row(speed, "prompt of %d".formatted(p.length()), p.model(), p.original(), p.speedup());
        }
        for (Decoding d : result.decodings()) {
            String name =
                    d.batch() == 1
                            ? "behind %d".formatted(d.depth())
                            : "behind %d, %d at a time".formatted(d.depth(), d.batch());
            row(speed, name, d.model(), d.original(), d.speedup());
            List<Object> cells = new ArrayList<>(List.of(name));
            percentiles(cells, d.model());
            percentiles(cells, d.original());
            steps.row(cells.toArray());
        }
        return List.of(heading(), speed, steps, energy());
    }

    /// Empty where the machine does not say.
    private Table energy() {
        Table table = new Table("lrr");
        for (Decoding d : result.decodings()) {
            if (d.model().joules().isPresent()) {
                String own = joules(d.model());
                String name =
                        "joules a token behind %d, %d at a time".formatted(d.depth(), d.batch());
                if (d.original() == null) {
                    table.row(name, own);
                } else {
                    table.row(name, own, joules(d.original()));
                }
            }
        }
        return table;
    }

    private static String joules(Timing t) {
        return "%.3g".formatted(t.joules().orElseThrow());
    }

    private Table heading() {
        Table table = new Table("ll").row("model", result.directory());
        if (result.original() != null) {
            table.row("original", result.spec().against());
        }
        table.row(
                "device",
                "%s: %s a second from memory, %.0f GFLOP/s in f32, %.0f with bf16 weights"
                        .formatted(
                                result.machine().title(),
                                ByteSize.format((long) result.machine().bandwidth()),
                                result.machine().peak(Arithmetic.F32) * 1e-9,
                                result.machine().peak(Arithmetic.BF16) * 1e-9));
        if (!result.prompts().isEmpty()) {
            Prompt first = result.prompts().getFirst();
            table.row(
                    "first token",
                    "%.1f ms behind a prompt of %d"
                            .formatted(1e3 * first.model().median(), first.length()));
        }
        table.row("weights", ByteSize.format(result.model().size().tensorBytes()));
        table.row("cache and passes", ByteSize.format(result.model().working()));
        result.peak().ifPresent(bytes -> table.row("peak resident", ByteSize.format(bytes)));
        return table;
    }

    private static void row(
            Table table, String name, Timing model, Timing original, Speedup speedup) {
        if (original == null) {
            table.row(name, rate(model), share(model));
        } else {
            table.row(
                    name,
                    rate(model),
                    share(model),
                    rate(original),
                    share(original),
                    interval(speedup));
        }
    }

    /// Median, and half of the distance between the slowest and the fastest.
    private static String rate(Timing t) {
        double spread = (t.fastest() - t.slowest()) / 2;
        return "%.1f +- %.1f".formatted(t.tokensPerSecond(), spread);
    }

    private static String share(Timing t) {
        return "%.0f %%".formatted(100 * t.roofline());
    }

    static String interval(Speedup s) {
        return "%.2f (%.2f to %.2f)".formatted(s.ratio(), s.low(), s.high());
    }

    private static void percentiles(List<Object> cells, Timing t) {
        if (t != null) {
            for (double part : new double[] {0.5, 0.9, 0.99}) {
                cells.add("%.2f".formatted(1e3 * t.percentile(part)));
            }
        }
    }
}
