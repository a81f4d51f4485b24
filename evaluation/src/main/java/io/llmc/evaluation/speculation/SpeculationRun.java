// SPDX-License-Identifier: Apache-2.0
package io.llmc.evaluation.speculation;

import io.llmc.backend.Backend;
import io.llmc.evaluation.SizeReport;
import io.llmc.evaluation.latency.Speedup;
import io.llmc.evaluation.latency.WarmUp;
import io.llmc.formats.UserException;
import io.llmc.formats.checkpoint.Checkpoint;
import io.llmc.model.Capability;
import io.llmc.model.ModelSpec;
import io.llmc.model.arch.Architectures;
import io.llmc.model.arch.Models;
import io.llmc.model.decoding.CacheSettings;
import io.llmc.model.decoding.Decoder;
import io.llmc.model.decoding.Decoder.Chunk;
import io.llmc.model.decoding.Sequence;
import io.llmc.pipeline.ByteSize;
import io.llmc.pipeline.Progress;
import io.llmc.pipeline.Step;
import io.llmc.pipeline.generation.Draws;
import io.llmc.pipeline.generation.Sampler;
import io.llmc.pipeline.generation.SpecialTokens;
import io.llmc.pipeline.generation.Speculator;
import io.llmc.tensor.DType;
import io.llmc.tokenizer.PromptFile;
import io.llmc.tokenizer.Tokenizer;
import io.llmc.tokenizer.Vocabulary;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.BitSet;
import java.util.List;
import java.util.Set;

/// Every prompt twice: by the model alone and with the draft, in turns.
final class SpeculationRun implements Step.Plan {
    private static final WarmUp WARM_UP = new WarmUp(1_000_000_000L);
    private static final int ROWS = 256;
    private static final String TOKENIZER = "tokenizer.json";

    private final SpeculationSpec spec;
    private final Backend backend;
    private final Progress progress;
    private final Checkpoint model;
    private Checkpoint draft;
    private List<int[]> prompts;
    private Set<Integer> ends;
    private CacheSettings settings;
    private boolean closed;

    @SuppressWarnings("MustBeClosed") // closed by close()
    SpeculationRun(
            Models models, SpeculationSpec spec, Backend backend, Progress progress, long memory) {
        this.spec = spec;
        this.backend = backend;
        this.progress = progress;
        this.model = models.open(models.main(), progress::note);
        try {
            this.draft = models.open(spec.draft(), progress::note);
            requireOneVocabulary();
            read();
            ByteSize.requireWithin(memory, bytes(), "lower {maxTokens}");
        } catch (RuntimeException e) {
            close();
            throw e;
        }
    }

    /// Tables that differ by padding alone will do.
    private void requireOneVocabulary() {
        Path own = model.directory();
        Path other = draft.directory();
        try {
            Vocabulary.common(
                    other.resolve(TOKENIZER),
                    Architectures.specOf(draft).vocabulary(),
                    own.resolve(TOKENIZER),
                    Architectures.specOf(model).vocabulary());
        } catch (UserException e) {
            throw new UserException(
                    "%s cannot draft for %s: their tokenizers differ (%s)"
                            .formatted(other, own, e.getMessage()),
                    "name a model that has the same tokens, such as a compressed one of the same"
                            + " original");
        }
    }

    private void read() {
        SpecialTokens special = SpecialTokens.of(model);
        ends = special.ends();
        try (Tokenizer tokenizer = Tokenizer.open(model)) {
            prompts =
                    PromptFile.read(spec.prompts(), model).stream()
                            .limit(spec.maxPrompts() == 0 ? Long.MAX_VALUE : spec.maxPrompts())
                            .map(p -> special.prompt(tokenizer, p))
                            .toList();
        }
        int longest = prompts.stream().mapToInt(p -> p.length).max().orElseThrow();
        int positions =
                Math.min(
                        Architectures.specOf(model).maxPositions(),
                        Architectures.specOf(draft).maxPositions());
        if (longest + spec.maxTokens() > positions) {
            throw new UserException(
                    "a prompt of %,d tokens and %,d new ones are more than the %,d positions"
                            .formatted(longest, spec.maxTokens(), positions),
                    "lower {maxTokens}, or shorten it");
        }
        Capability.requireUndoing(Architectures.specOf(model));
        Capability.requireUndoing(Architectures.specOf(draft));
        settings =
                new CacheSettings(
                        longest + spec.maxTokens() + spec.drafted() + 1L,
                        1,
                        Math.max(spec.drafted() + 1, Math.min(ROWS, longest)),
                        DType.F32,
                        spec.drafted() + 1);
    }

    @Override
    public long bytes() {
        long bytes = 0;
        for (Checkpoint c : List.of(model, draft)) {
            bytes += SizeReport.of(c).tensorBytes();
            bytes += Decoder.bytes(c, Architectures.specOf(c), settings, backend);
        }
        return ByteSize.roundUp(bytes);
    }

    @Override
    public Step.Outcome run() {
        ModelSpec own = Architectures.specOf(model);
        try (Decoder target = Decoder.open(model, own, backend, settings);
                Decoder small =
                        Decoder.open(draft, Architectures.specOf(draft), backend, settings)) {
            Speculator speculator = new Speculator(target, small, spec.sampling(), spec.drafted());
            progress.begin("speculate", prompts.size() + 1L);
            WARM_UP.run(() -> {
                alone(target, 0);
                speculator.run(0, prompts.getFirst(), spec.maxTokens(), ends);
            });
            progress.advance(1, "warm");
            List<SpeculationResult.Pair> pairs = new ArrayList<>();
            for (int i = 0; i < prompts.size(); i++) {
                pairs.add(pair(target, speculator, i));
                progress.advance(1, "prompt");
            }
            progress.end();
            return new SpeculationResult(model.directory(), spec, pairs, speedup(pairs));
        }
    }

    private static Speedup speedup(List<SpeculationResult.Pair> pairs) {
        return pairs.size() < 2
                ? null
                : Speedup.of(
                        pairs.stream()
                                .mapToDouble(p -> p.seconds() / p.text().ids().length)
                                .toArray(),
                        pairs.stream()
                                .mapToDouble(p -> p.aloneSeconds() / p.alone().length)
                                .toArray());
    }

    private SpeculationResult.Pair pair(Decoder target, Speculator speculator, int i) {
        boolean first = i % 2 == 0;
        Timed before = first ? alone(target, i) : null;
        long begun = System.nanoTime();
        Speculator.Text text = speculator.run(i, prompts.get(i), spec.maxTokens(), ends);
        double seconds = (System.nanoTime() - begun) * 1e-9;
        Timed alone = first ? before : alone(target, i);
        return new SpeculationResult.Pair(text, seconds, alone.ids, alone.seconds);
    }

    private record Timed(int[] ids, double seconds) {}

    private Timed alone(Decoder target, int index) {
        Sampler sampler = new Sampler(spec.sampling());
        Draws draws = new Draws(spec.sampling().seed(), index);
        int[] prompt = prompts.get(index);
        int[] ids = Arrays.copyOf(prompt, prompt.length + spec.maxTokens());
        int count = prompt.length;
        long begun = System.nanoTime();
        try (Sequence sequence = target.sequence()) {
            boolean ended = false;
            while (!ended && count < ids.length) {
                int rows = settings.rows();
                while (count - sequence.length() > rows) {
                    int from = sequence.length();
                    int[] some = Arrays.copyOfRange(ids, from, from + rows);
                    target.step(List.of(new Chunk(sequence, some, 0)));
                }
                int[] rest = Arrays.copyOfRange(ids, sequence.length(), count);
                float[] logits = target.step(List.of(new Chunk(sequence, rest, 1)))[0];
                ids[count] = sampler.next(logits, new BitSet(), draws);
                ended = ends.contains(ids[count++]);
            }
        }
        double seconds = (System.nanoTime() - begun) * 1e-9;
        return new Timed(Arrays.copyOfRange(ids, prompt.length, count), seconds);
    }

    @Override
    public void close() {
        if (!closed) {
            closed = true;
            model.close();
            if (draft != null) {
                draft.close();
            }
        }
    }
}
