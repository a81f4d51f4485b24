// SPDX-License-Identifier: Apache-2.0
package io.llmc.evaluation.latency;

import io.llmc.backend.Backend;
import io.llmc.evaluation.SizeReport;
import io.llmc.evaluation.latency.LatencyResult.Decoding;
import io.llmc.evaluation.latency.LatencyResult.Measured;
import io.llmc.evaluation.latency.LatencyResult.Prompt;
import io.llmc.model.decoding.Sequence;
import io.llmc.pipeline.ByteSize;
import io.llmc.pipeline.Progress;
import io.llmc.pipeline.Step;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.function.ToDoubleFunction;

/// Times one model, or two in turns, so that what else the machine does meets both.
final class LatencyRun implements Step.Plan {
    /// Until the kernels are compiled.
    static final long WARM_NANOS = 3_000_000_000L;

    private final Path model;
    private final LatencySpec spec;
    private final Backend backend;
    private final Progress progress;
    private final long warmNanos;
    private final List<Subject> subjects = new ArrayList<>();

    @SuppressWarnings("MustBeClosed") // closed by close()
    LatencyRun(
            Path model,
            LatencySpec wanted,
            Backend backend,
            Progress progress,
            long memory,
            long warmNanos) {
        this.model = model;
        this.backend = backend;
        this.warmNanos = warmNanos;
        this.progress = progress;
        try {
            subjects.add(new Subject(model, backend));
            if (wanted.against() != null) {
                subjects.add(new Subject(wanted.against(), backend));
            }
            int positions =
                    subjects.stream().mapToInt(s -> s.spec().maxPositions()).min().orElseThrow();
            spec = wanted.within(positions);
            ByteSize.requireWithin(memory, bytes(), "");
        } catch (RuntimeException e) {
            close();
            throw e;
        }
    }

    /// Both models at once, as a mapped file is counted where the device shares the host's memory.
    @Override
    public long bytes() {
        long bytes = 0;
        for (Subject s : subjects) {
            bytes += SizeReport.of(s.checkpoint()).tensorBytes();
            bytes += s.working(spec.settings());
        }
        return ByteSize.roundUp(bytes);
    }

    @Override
    public Step.Outcome run() {
        int kinds = spec.prefill().size() + spec.depths().size() * spec.batches().size();
        progress.begin("latency", (long) (kinds + 1) * spec.repeats());
        subjects.forEach(s -> s.load(spec.settings()));
        warm();
        List<Prompt> prompts = new ArrayList<>();
        for (int length : spec.prefill()) {
            List<double[][]> all = turns("prefill", s -> new double[] {s.prefill(length)});
            prompts.add(
                    new Prompt(
                            length, timing(length, all.get(0)), original(length, all), ratio(all)));
        }
        List<Decoding> decodings = new ArrayList<>();
        for (int depth : spec.depths()) {
            decode(decodings, depth);
        }
        progress.end();
        List<Measured> models =
                subjects.stream()
                        .map(
                                s ->
                                        new Measured(
                                                SizeReport.of(s.checkpoint()),
                                                s.working(spec.settings())))
                        .toList();
        return new LatencyResult(
                model,
                spec,
                backend.device(),
                models.getFirst(),
                models.size() > 1 ? models.getLast() : null,
                prompts,
                decodings,
                Resident.peak());
    }

    private void decode(List<Decoding> decodings, int depth) {
        List<Sequence> starts = new ArrayList<>();
        try {
            subjects.forEach(s -> starts.add(s.at(depth)));
            for (int batch : spec.batches()) {
                List<double[][]> all =
                        turns(
                                "decode",
                                s ->
                                        s.decode(
                                                starts.get(subjects.indexOf(s)),
                                                batch,
                                                spec.steps()));
                int tokens = batch * spec.steps();
                decodings.add(
                        new Decoding(
                                depth,
                                batch,
                                timing(tokens, all.get(0)),
                                original(tokens, all),
                                ratio(all)));
            }
        } finally {
            starts.forEach(Sequence::close);
        }
    }

    /// Prompts and steps until a while is over, and both at least twice.
    private void warm() {
        for (Subject s : subjects) {
            long begun = System.nanoTime();
            for (int i = 0; i < 2 || System.nanoTime() - begun < warmNanos; i++) {
                int length = Math.min(spec.settings().rows(), 128);
                try (Sequence start = s.at(length)) {
                    for (int batch : spec.batches()) {
                        s.decode(start, batch, spec.steps());
                    }
                }
            }
        }
        progress.advance(spec.repeats(), "warm");
    }

    /// @return of each model the seconds of each measurement's steps; who begins alternates
    private List<double[][]> turns(String label, Steps measurement) {
        List<double[][]> all = new ArrayList<>();
        subjects.forEach(_ -> all.add(new double[spec.repeats()][]));
        for (int r = 0; r < spec.repeats(); r++) {
            for (int i = 0; i < subjects.size(); i++) {
                int who = (i + r) % subjects.size();
                all.get(who)[r] = measurement.of(subjects.get(who));
            }
            progress.advance(1, label);
        }
        return all;
    }

    @FunctionalInterface
    private interface Steps {
        double[] of(Subject subject);
    }

    private static double[] totals(double[][] seconds) {
        ToDoubleFunction<double[]> sum = x -> Arrays.stream(x).sum();
        return Arrays.stream(seconds).mapToDouble(sum).toArray();
    }

    private static Timing timing(int tokens, double[][] seconds) {
        double[] steps =
                seconds[0].length == 1
                        ? new double[0]
                        : Arrays.stream(seconds).flatMapToDouble(Arrays::stream).toArray();
        return new Timing(tokens, totals(seconds), steps);
    }

    private static Timing original(int tokens, List<double[][]> all) {
        return all.size() > 1 ? timing(tokens, all.get(1)) : null;
    }

    private static Speedup ratio(List<double[][]> all) {
        return all.size() > 1 ? Speedup.of(totals(all.get(0)), totals(all.get(1))) : null;
    }

    @Override
    public void close() {
        subjects.forEach(Subject::close);
        subjects.clear();
    }
}
