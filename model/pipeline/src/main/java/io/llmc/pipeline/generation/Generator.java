// SPDX-License-Identifier: Apache-2.0
package io.llmc.pipeline.generation;

import io.llmc.formats.UserException;
import io.llmc.model.decoding.CacheSettings;
import io.llmc.model.decoding.Decoder;
import io.llmc.model.decoding.Decoder.Chunk;
import io.llmc.model.decoding.Sequence;
import io.llmc.tokenizer.Tokenizer;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Deque;
import java.util.List;

/// Continues texts, several at a time: in every pass each text that is being written gets a token,
/// and what is left of the pass's rows goes to prompts, piece by piece. A text that is complete
/// makes place for the next prompt at once (Yu et al., 2022, "Orca: a distributed serving system").
///
/// What becomes of a prompt depends on its index and the settings, not on the others. Not for use
/// by several threads.
public final class Generator {
    /// Tokens from which on a beginning that all prompts share is computed once.
    private static final int SHARED = 32;

    private final Decoder decoder;
    private final Tokenizer tokenizer;
    private final GenerationSettings settings;
    private final Sampler sampler;

    /// The caller keeps decoder and tokenizer.
    public Generator(Decoder decoder, Tokenizer tokenizer, GenerationSettings settings) {
        this.decoder = decoder;
        this.tokenizer = tokenizer;
        this.settings = settings;
        this.sampler = new Sampler(settings.sampling());
    }

    Decoder decoder() {
        return decoder;
    }

    Tokenizer tokenizer() {
        return tokenizer;
    }

    /// Continues every prompt.
    ///
    /// @param prompts ids, of each at least one
    /// @param listener hears of prompts by their index
    /// @return in the order of the prompts
    /// @throws UserException where a prompt leaves no position, or the cache no place, for an
    ///   answer
    public List<Generation> run(List<int[]> prompts, GenerationListener listener) {
        List<Course> courses = new ArrayList<>();
        for (int i = 0; i < prompts.size(); i++) {
            courses.add(course(i, prompts.get(i), listener));
        }
        int shared = shared(prompts);
        try (Sequence trunk = shared < SHARED ? null : trunk(prompts.getFirst(), shared)) {
            run(courses, trunk);
        }
        return courses.stream().map(Course::generation).toList();
    }

    /// @throws UserException where it has no place
    Course course(int index, int[] prompt, GenerationListener listener) {
        int positions = decoder.spec().maxPositions();
        if (prompt.length == 0) {
            throw new IllegalArgumentException("prompt %d has no tokens".formatted(index));
        }
        if (prompt.length >= positions) {
            throw new UserException(
                    "a prompt of %,d tokens leaves none of the model's %,d positions for an answer"
                            .formatted(prompt.length, positions),
                    "shorten it");
        }
        Course course = new Course(index, prompt, positions, settings, tokenizer, listener);
        CacheSettings cache = decoder.settings();
        if (course.longest() > cache.tokens()) {
            throw new UserException(
                    "%,d tokens of prompt and answer do not fit into a cache of %,d"
                            .formatted(course.longest(), cache.tokens()),
                    "lower {maxTokens}, or raise {memory} where it is given");
        }
        return course;
    }

    /// How many tokens all prompts begin with, all but the last of the shortest at most.
    private int shared(List<int[]> prompts) {
        if (prompts.size() < 2 || decoder.settings().sequences() < 2) {
            return 0;
        }
        int[] first = prompts.getFirst();
        int shared = first.length - 1;
        for (int[] prompt : prompts) {
            int most = Math.min(shared, prompt.length - 1);
            int mismatch = Arrays.mismatch(first, 0, most, prompt, 0, most);
            shared = mismatch < 0 ? most : mismatch;
        }
        return shared;
    }

    @SuppressWarnings("MustBeClosed") // the caller closes it
    private Sequence trunk(int[] prompt, int length) {
        Sequence trunk = decoder.sequence();
        int rows = decoder.settings().rows();
        for (int from = 0; from < length; from += rows) {
            int to = Math.min(length, from + rows);
            decoder.step(List.of(new Chunk(trunk, Arrays.copyOfRange(prompt, from, to), 0)));
        }
        return trunk;
    }

    /// @param trunk what all begin with; null for nothing
    @SuppressWarnings("MustBeClosed") // closed when its text is finished
    private void run(List<Course> courses, Sequence trunk) {
        Deque<Course> waiting = new ArrayDeque<>(courses);
        List<Course> active = new ArrayList<>();
        CacheSettings cache = decoder.settings();
        int places = cache.sequences() - (trunk == null ? 0 : 1);
        try {
            while (!waiting.isEmpty() || !active.isEmpty()) {
                long taken = active.stream().mapToLong(Course::longest).sum();
                while (!waiting.isEmpty()
                        && active.size() < places
                        && taken + waiting.getFirst().longest() <= cache.tokens()) {
                    Course next = waiting.removeFirst();
                    next.begin(trunk == null ? decoder.sequence() : trunk.fork());
                    taken += next.longest();
                    active.add(next);
                }
                step(active);
                active.stream().filter(Course::isFinished).forEach(c -> c.sequence().close());
                active.removeIf(Course::isFinished);
            }
        } finally {
            active.forEach(c -> c.sequence().close());
        }
    }

    /// Finishes a course that has begun; its sequence stays open.
    void finish(Course course) {
        while (!course.isFinished()) {
            step(List.of(course));
        }
    }

    /// One pass.
    private void step(List<Course> active) {
        int rows = decoder.settings().rows();
        List<Course> scored = new ArrayList<>();
        List<Chunk> chunks = new ArrayList<>();
        // Texts that are being written need a row each; prompts take what is left.
        for (boolean prompts : new boolean[] {false, true}) {
            for (Course course : active) {
                if (prompts == course.left() > 1 && rows > 0) {
                    Chunk chunk = course.chunk(rows);
                    rows -= chunk.ids().length;
                    chunks.add(chunk);
                    if (chunk.scored() > 0) {
                        scored.add(course);
                    }
                }
            }
        }
        float[][] logits = decoder.step(chunks);
        for (int i = 0; i < logits.length; i++) {
            scored.get(i).take(logits[i], sampler);
        }
    }
}
