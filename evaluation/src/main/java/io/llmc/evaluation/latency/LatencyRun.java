// SPDX-License-Identifier: Apache-2.0
package io.llmc.evaluation.latency;

import io.llmc.backend.Backend;
import io.llmc.backend.MachineProbe;
import io.llmc.evaluation.SizeReport;
import io.llmc.evaluation.latency.LatencyResult.Decoding;
import io.llmc.evaluation.latency.LatencyResult.Measured;
import io.llmc.evaluation.latency.LatencyResult.Prompt;
import io.llmc.model.arch.Models;
import io.llmc.model.decoding.Sequence;
import io.llmc.pipeline.ByteSize;
import io.llmc.pipeline.Progress;
import io.llmc.pipeline.Step;
import io.llmc.pipeline.plan.DeviceSpec;
import io.llmc.pipeline.plan.Roofline;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.OptionalDouble;
import java.util.function.ToDoubleFunction;

/// Times one model, or two in turns, so that what else the machine does meets both.
final class LatencyRun implements Step.Plan {
    private final Path model;
    private final LatencySpec spec;
    private final Backend backend;
    private final Progress progress;
    private final WarmUp warmUp;
    private final EnergyMeter energy = EnergyMeter.ofMachine();
    private final List<Subject> subjects = new ArrayList<>();

    @SuppressWarnings("MustBeClosed") // closed by close()
    LatencyRun(
            Models models,
            LatencySpec wanted,
            Backend backend,
            Progress progress,
            long memory,
            WarmUp warmUp) {
        this.model = models.main();
        this.backend = backend;
        this.warmUp = warmUp;
        this.progress = progress;
        try {
            subjects.add(new Subject(models.open(model, progress::note), backend));
            if (wanted.against() != null) {
                subjects.add(new Subject(models.open(wanted.against(), progress::note), backend));
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

    /// Both models at once, as a mapped file is counted where the device shares the host's memory;
    /// or what the machine is measured with before they are loaded.
    @Override
    public long bytes() {
        long bytes = 0;
        for (Subject s : subjects) {
            bytes += SizeReport.of(s.checkpoint()).tensorBytes();
            bytes += s.working(spec.settings());
        }
        return ByteSize.roundUp(Math.max(bytes, MachineProbe.USUAL.room()));
    }

    @Override
    public Step.Outcome run() {
        int kinds = spec.prefill().size() + spec.depths().size() * spec.batches().size();
        progress.begin("latency", (long) (kinds + 1) * spec.repeats());
        DeviceSpec machine = DeviceSpec.measured(backend);
        subjects.forEach(s -> s.load(spec.settings(), machine));
        warm();
        List<Prompt> prompts = new ArrayList<>();
        for (int length : spec.prefill()) {
            ToDoubleFunction<Roofline> least = r -> r.prefill(length).seconds();
            List<Series> all = turns("prefill", s -> new double[] {s.prefill(length)});
            prompts.add(
                    new Prompt(
                            length,
                            all.getFirst().timing(length, least),
                            original(length, all, least),
                            ratio(all)));
        }
        List<Decoding> decodings = new ArrayList<>();
        for (int depth : spec.depths()) {
            decode(decodings, depth);
        }
        progress.end();
        List<Measured> models =
                subjects.stream()
                        .map(s ->
                                new Measured(
                                        SizeReport.of(s.checkpoint()), s.working(spec.settings())))
                        .toList();
        return new LatencyResult(
                model,
                spec,
                machine,
                models.getFirst(),
                models.size() > 1 ? models.getLast() : null,
                prompts,
                decodings,
                Resident.peak());
    }

    @SuppressWarnings("MustBeClosed") // closed at the end
    private void decode(List<Decoding> decodings, int depth) {
        List<Sequence> starts = new ArrayList<>();
        try {
            subjects.forEach(s -> starts.add(s.at(depth)));
            for (int batch : spec.batches()) {
                List<Series> all =
                        turns(
                                "decode",
                                s ->
                                        s.decode(
                                                starts.get(subjects.indexOf(s)),
                                                batch,
                                                spec.steps()));
                int tokens = batch * spec.steps();
                ToDoubleFunction<Roofline> least =
                        r -> spec.steps() * r.decode(batch, depth).seconds();
                decodings.add(
                        new Decoding(
                                depth,
                                batch,
                                all.getFirst().timing(tokens, least),
                                original(tokens, all, least),
                                ratio(all)));
            }
        } finally {
            starts.forEach(Sequence::close);
        }
    }

    private void warm() {
        subjects.forEach(s -> warmUp.run(() -> warm(s)));
        progress.advance(spec.repeats(), "warm");
    }

    private void warm(Subject s) {
        try (Sequence start = s.at(Math.min(spec.settings().rows(), 128))) {
            for (int batch : spec.batches()) {
                s.decode(start, batch, spec.steps());
            }
        }
    }

    /// Measurements of one kind of one model.
    ///
    /// @param seconds of the steps of each
    /// @param joules of all; empty where the machine does not say
    private record Series(Subject subject, double[][] seconds, OptionalDouble joules) {
        double[] totals() {
            ToDoubleFunction<double[]> sum = x -> Arrays.stream(x).sum();
            return Arrays.stream(seconds).mapToDouble(sum).toArray();
        }

        /// @param tokens of a measurement
        /// @param least seconds that it takes by the model's roofline
        Timing timing(int tokens, ToDoubleFunction<Roofline> least) {
            double[] steps =
                    seconds[0].length == 1
                            ? new double[0]
                            : Arrays.stream(seconds).flatMapToDouble(Arrays::stream).toArray();
            return new Timing(
                    tokens,
                    totals(),
                    steps,
                    joules.isPresent()
                            ? OptionalDouble.of(joules.getAsDouble() / tokens / seconds.length)
                            : joules,
                    least.applyAsDouble(subject.roofline()));
        }
    }

    /// @return of each model; who begins alternates
    private List<Series> turns(String label, Steps measurement) {
        double[][][] seconds = new double[subjects.size()][spec.repeats()][];
        double[] joules = new double[subjects.size()];
        boolean told = true;
        for (int r = 0; r < spec.repeats(); r++) {
            for (int i = 0; i < subjects.size(); i++) {
                int who = (i + r) % subjects.size();
                long[] before = energy.now();
                seconds[who][r] = measurement.of(subjects.get(who));
                OptionalDouble used = energy.joules(before, energy.now());
                joules[who] += used.orElse(0);
                told &= used.isPresent();
            }
            progress.advance(1, label);
        }
        List<Series> all = new ArrayList<>();
        for (int who = 0; who < subjects.size(); who++) {
            all.add(
                    new Series(
                            subjects.get(who),
                            seconds[who],
                            told ? OptionalDouble.of(joules[who]) : OptionalDouble.empty()));
        }
        return all;
    }

    @FunctionalInterface
    private interface Steps {
        double[] of(Subject subject);
    }

    private static Timing original(int tokens, List<Series> all, ToDoubleFunction<Roofline> least) {
        return all.size() > 1 ? all.get(1).timing(tokens, least) : null;
    }

    private static Speedup ratio(List<Series> all) {
        return all.size() > 1 ? Speedup.of(all.get(0).totals(), all.get(1).totals()) : null;
    }

    @Override
    public void close() {
        subjects.forEach(Subject::close);
        subjects.clear();
    }
}
