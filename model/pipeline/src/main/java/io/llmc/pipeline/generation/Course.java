// SPDX-License-Identifier: Apache-2.0
package io.llmc.pipeline.generation;

import io.llmc.model.decoding.Decoder.Chunk;
import io.llmc.model.decoding.Sequence;
import io.llmc.pipeline.generation.Generation.Finish;
import io.llmc.tokenizer.Detokenizer;
import io.llmc.tokenizer.Tokenizer;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.BitSet;
import java.util.List;

/// One prompt on its way: what is cached of it, what is still to be fed, and what came out.
final class Course {
    private final int index;
    private final int prompt;
    private final int longest;
    private final GenerationSettings settings;
    private final GenerationListener listener;
    private final Draws draws;
    private final Detokenizer characters;
    private final StopStrings stops;
    private final BitSet seen = new BitSet();
    private final StringBuilder text = new StringBuilder();
    private final List<TokenScore> scores = new ArrayList<>();

    /// Prompt and what follows it.
    private int[] ids;

    private int count;
    private Finish finish;
    private Sequence sequence;

    /// @param index of the prompt; its draws depend on nothing else
    /// @param positions of the model
    Course(
            int index,
            int[] prompt,
            int positions,
            GenerationSettings settings,
            Tokenizer tokenizer,
            GenerationListener listener) {
        this.index = index;
        this.prompt = prompt.length;
        this.longest = (int) Math.min(prompt.length + (long) settings.maxTokens(), positions);
        this.settings = settings;
        this.listener = listener;
        this.draws = new Draws(settings.sampling().seed(), index);
        this.characters = new Detokenizer(tokenizer, prompt);
        this.stops = new StopStrings(settings.stops());
        this.ids = prompt.clone();
        this.count = prompt.length;
        Arrays.stream(prompt).forEach(seen::set);
    }

    /// Tokens that it may have in the end.
    int longest() {
        return longest;
    }

    boolean isFinished() {
        return finish != null;
    }

    /// @param from holds the first tokens of the prompt, not all
    void begin(Sequence from) {
        sequence = from;
    }

    Sequence sequence() {
        return sequence;
    }

    int[] ids() {
        return Arrays.copyOf(ids, count);
    }

    /// Tokens that are not cached.
    int left() {
        return count - sequence.length();
    }

    /// The next of them; the last one's logits come back.
    Chunk chunk(int most) {
        int from = sequence.length();
        int to = Math.min(count, from + most);
        return new Chunk(sequence, Arrays.copyOfRange(ids, from, to), to == count ? 1 : 0);
    }

    /// Goes on by the token that follows from logits.
    void take(float[] logits, Sampler sampler) {
        int id = sampler.next(logits, seen, draws);
        settings.logprobs().ifPresent(n -> scores.add(TokenScore.of(logits, id, n)));
        if (count == ids.length) {
            ids = Arrays.copyOf(ids, Math.min(longest, 2 * count + 16));
        }
        ids[count++] = id;
        seen.set(id);
        listener.token(index, id);
        if (settings.ends().contains(id)) {
            finish(Finish.STOP);
            return;
        }
        grow(stops.add(characters.add(id)));
        if (stops.found()) {
            finish(Finish.STOP);
        } else if (count == longest) {
            finish(Finish.LENGTH);
        }
    }

    private void grow(String piece) {
        if (!piece.isEmpty()) {
            text.append(piece);
            listener.text(index, piece);
        }
    }

    private void finish(Finish why) {
        grow(stops.end());
        finish = why;
        listener.finished(index, generation());
    }

    Generation generation() {
        return new Generation(
                Arrays.copyOfRange(ids, prompt, count), text.toString(), finish, scores);
    }
}
