// SPDX-License-Identifier: Apache-2.0
package io.llmc.evaluation.blame;

import com.google.errorprone.annotations.MustBeClosed;
import io.llmc.backend.Backend;
import io.llmc.evaluation.CommonVocabulary;
import io.llmc.evaluation.Distribution;
import io.llmc.evaluation.EvalSpec;
import io.llmc.evaluation.ScoredWindows;
import io.llmc.formats.UserException;
import io.llmc.model.LayerSpec;
import io.llmc.model.LayerSpec.LinearSpec;
import io.llmc.model.arch.Models;
import io.llmc.pipeline.Progress;
import io.llmc.pipeline.Step;
import io.llmc.tokenizer.TextFiles;
import io.llmc.tokenizer.Tokenizer;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;

/// Two models that are ready to be compared part by part.
final class BlameJob implements Step.Plan {
    private final EvalSpec spec;
    private final Unit unit;
    private final Backend backend;
    private final Progress progress;
    private final Side original;
    private final Side compressed;
    private final List<Part> parts;
    private final int vocabulary;
    private final ScoredWindows windows;
    private final BlameMemory memory;

    /// Looks at headers, norms and text alone.
    ///
    /// @param spec with an original
    /// @param cap bytes outside the Java heap at most
    @MustBeClosed
    @SuppressWarnings("MustBeClosed") // closed by close()
    BlameJob(
            EvalSpec spec, Unit unit, Models models, Backend backend, long cap, Progress progress) {
        this.spec = spec;
        this.unit = unit;
        this.backend = backend;
        this.progress = progress;
        this.original = new Side(models, spec.against(), backend, progress);
        Side ours = null;
        try {
            ours = new Side(models, spec.model(), backend, progress);
            this.compressed = ours;
            requireSameBlocks();
            this.vocabulary =
                    CommonVocabulary.of(
                            compressed.checkpoint(),
                            compressed.spec().vocabulary(),
                            original.checkpoint(),
                            original.spec().vocabulary(),
                            progress);
            this.parts = Part.of(original.spec(), compressed.spec(), unit);
            this.windows = windows();
            this.memory =
                    BlameMemory.within(
                            cap,
                            original,
                            compressed,
                            parts,
                            windows.count(),
                            spec.window(),
                            backend);
        } catch (RuntimeException e) {
            if (ours != null) {
                ours.close();
            }
            original.close();
            throw e;
        }
    }

    private ScoredWindows windows() {
        for (Side side : List.of(compressed, original)) {
            side.spec().requirePositions(spec.window(), side.directory(), "lower {window}");
        }
        try (Tokenizer tokenizer = Tokenizer.open(compressed.checkpoint())) {
            int[] ids = TextFiles.tokens(spec.data(), tokenizer);
            ScoredWindows found = ScoredWindows.of(ids, spec, tokenizer.bos());
            found.requireBelow(vocabulary, spec.model());
            return found;
        }
    }

    private void requireSameBlocks() {
        int ours = compressed.spec().layers().size();
        int theirs = original.spec().layers().size();
        if (ours != theirs) {
            throw new UserException(
                    "%s has %d blocks, %s has %d: a block of the one has no place in the other"
                            .formatted(compressed.directory(), ours, original.directory(), theirs),
                    "measure what was lost as a whole, without {by}");
        }
        if (compressed.spec().hidden() != original.spec().hidden()) {
            throw new UserException(
                    "%s is %d wide, %s is %d wide: a block of the one has no place in the other"
                            .formatted(
                                    compressed.directory(),
                                    compressed.spec().hidden(),
                                    original.directory(),
                                    original.spec().hidden()),
                    "measure what was lost as a whole, without {by}");
        }
        if (unit == Unit.LAYERS) {
            for (int i = 0; i < ours; i++) {
                requireSameLayers(
                        compressed.spec().layers().get(i), original.spec().layers().get(i));
            }
            FoldedScales.requireNone(original, compressed);
        }
    }

    private void requireSameLayers(LayerSpec ours, LayerSpec theirs) {
        List<String> mine = shapes(ours);
        List<String> other = shapes(theirs);
        for (int i = 0; i < Math.max(mine.size(), other.size()); i++) {
            String a = i < mine.size() ? mine.get(i) : "nothing";
            String b = i < other.size() ? other.get(i) : "nothing";
            if (!a.equals(b)) {
                throw new UserException(
                        "%s has %s where %s has %s: a layer of the one has no place in the other"
                                .formatted(compressed.directory(), a, original.directory(), b),
                        "give {by} as blocks");
            }
        }
    }

    private List<String> shapes(LayerSpec layer) {
        return layer.linears(original.spec().hidden()).stream().map(BlameJob::shape).toList();
    }

    private static String shape(LinearSpec linear) {
        return "%s [%d, %d]".formatted(linear.name(), linear.out(), linear.in());
    }

    /// Windows that go through the models together.
    int batchWindows() {
        return memory.windows();
    }

    @Override
    public long bytes() {
        return memory.bytes();
    }

    @Override
    public BlameResult run() {
        int blocks = original.spec().layers().size();
        int batches = Math.ceilDiv(windows.count(), memory.windows());
        float[][] divergences = new float[parts.size() + 1][windows.rows()];
        original.load(spec.window());
        compressed.load(spec.window());
        progress.begin("blame", batches * Walk.passes(parts, blocks));
        int done = 0;
        for (int from = 0; from < windows.count(); from += memory.windows()) {
            ScoredWindows batch =
                    windows.range(from, Math.min(windows.count(), from + memory.windows()));
            try (Walk walk = new Walk(original, compressed, parts, batch, backend)) {
                walk.run(vocabulary, memory.pieceRows(), divergences, done, progress::advance);
            }
            done += batch.rows();
        }
        progress.end();
        return result(divergences);
    }

    private BlameResult result(float[][] divergences) {
        List<Distribution> each = new ArrayList<>();
        for (int p = 0; p < divergences.length; p++) {
            String part = p < parts.size() ? parts.get(p).name() : "";
            each.add(Distribution.of(requireFinite(divergences[p], part)));
        }
        Distribution whole = each.removeLast();
        double sum = each.stream().mapToDouble(Distribution::mean).sum();
        List<Cost> costs = new ArrayList<>();
        for (int p = 0; p < parts.size(); p++) {
            Part part = parts.get(p);
            double kld = each.get(p).mean();
            if (part instanceof Part.Inner || kld != 0) {
                costs.add(
                        new Cost(
                                part.name(),
                                part.pattern(),
                                kld,
                                each.get(p).error(),
                                sum == 0 ? 0 : kld / sum,
                                part.bytes(original.checkpoint())
                                        - part.bytes(compressed.checkpoint())));
            }
        }
        costs.sort(Comparator.comparingDouble(Cost::kld).reversed());
        return new BlameResult(
                spec.model(),
                spec.against(),
                unit,
                windows.count(),
                windows.rows(),
                whole.mean(),
                whole.error(),
                List.copyOf(costs));
    }

    /// @param part empty for all together
    private float[] requireFinite(float[] divergences, String part) {
        for (int i = 0; i < divergences.length; i++) {
            if (!Float.isFinite(divergences[i])) {
                throw new UserException(
                        "%s%s predicts no finite probability for scored token %,d"
                                .formatted(
                                        part.isEmpty() ? "" : "with %s of it, ".formatted(part),
                                        spec.model(),
                                        i),
                        "its weights or its config are broken; look at them with llmc inspect");
            }
        }
        return divergences;
    }

    /// May be called twice.
    @Override
    public void close() {
        compressed.close();
        original.close();
    }
}
