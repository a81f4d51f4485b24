// SPDX-License-Identifier: Apache-2.0
package io.llmc.pipeline.generation;

import io.llmc.model.decoding.Decoder;
import io.llmc.model.decoding.Decoder.Chunk;
import io.llmc.model.decoding.Sequence;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.BitSet;
import java.util.List;
import java.util.Set;

/// Speculative decoding: a smaller model drafts some tokens one by one, and the model that is asked
/// checks all of them in one pass. See [Acceptance] for why its texts stay what they are.
///
/// Not for use by several threads.
public final class Speculator {
    private final Decoder target;
    private final Decoder draft;
    private final Sampler sampler;
    private final int drafted;

    /// Ids that both models predict.
    private final int vocabulary;

    private long draftNanos;
    private long targetNanos;

    /// How one text came about.
    ///
    /// @param ids that were generated, an end token among them
    /// @param passes of the model behind the prompt
    /// @param steps of the draft
    /// @param offered how often there was a first, second, ... drafted token that could be taken:
    ///   those before it were
    /// @param accepted how often it was
    /// @param draftSeconds of the draft's steps, the first of which reads the prompt
    /// @param targetSeconds of the model's passes, likewise
    public record Text(
            int[] ids,
            int passes,
            int steps,
            int[] offered,
            int[] accepted,
            double draftSeconds,
            double targetSeconds) {}

    /// The caller keeps the decoders, whose settings allow `drafted + 1` tokens to be undone.
    ///
    /// @param drafted tokens at a time
    public Speculator(Decoder target, Decoder draft, SamplingSettings sampling, int drafted) {
        if (drafted < 1
                || Math.min(target.settings().undone(), draft.settings().undone()) <= drafted) {
            throw new IllegalArgumentException(drafted + " drafted tokens cannot be undone");
        }
        this.target = target;
        this.draft = draft;
        this.sampler = new Sampler(sampling);
        this.drafted = drafted;
        this.vocabulary = Math.min(target.spec().vocabulary(), draft.spec().vocabulary());
    }

    /// Continues a prompt.
    ///
    /// @param index of the prompt: its draws depend on nothing else
    /// @param most tokens
    /// @param ends tokens that end the text
    public Text run(int index, int[] prompt, int most, Set<Integer> ends) {
        draftNanos = 0;
        targetNanos = 0;
        try (Sequence checked = target.sequence();
                Sequence ahead = draft.sequence()) {
            return new Course(checked, ahead, index, prompt, ends).run(most);
        }
    }

    /// Feeds what a sequence lacks; the logits of the last tokens.
    ///
    /// @param scored of them
    private static float[][] feed(Decoder decoder, Sequence sequence, int[] ids, int scored) {
        int rows = decoder.settings().rows();
        while (ids.length - sequence.length() > rows) {
            int from = sequence.length();
            // The scored ones come in one pass.
            int to = Math.min(from + rows, ids.length - scored);
            decoder.step(List.of(new Chunk(sequence, Arrays.copyOfRange(ids, from, to), 0)));
        }
        int[] rest = Arrays.copyOfRange(ids, sequence.length(), ids.length);
        return decoder.step(List.of(new Chunk(sequence, rest, scored)));
    }

    private final class Course {
        private final Sequence checked;
        private final Sequence ahead;
        private final Set<Integer> ends;
        private final Draws draws;
        private final int prompt;
        private final int[] offered = new int[drafted];
        private final int[] accepted = new int[drafted];
        private int[] ids;
        private int passes;
        private int steps;

        Course(Sequence checked, Sequence ahead, int index, int[] prompt, Set<Integer> ends) {
            this.checked = checked;
            this.ahead = ahead;
            this.ends = ends;
            this.draws = new Draws(sampler.settings().seed(), index);
            this.prompt = prompt.length;
            this.ids = prompt;
        }

        Text run(int most) {
            int longest = (int) Math.min(prompt + (long) most, target.spec().maxPositions());
            boolean ended = false;
            while (!ended && ids.length < longest) {
                ended = pass(Math.min(drafted, longest - ids.length - 1));
            }
            return new Text(
                    Arrays.copyOfRange(ids, prompt, ids.length),
                    passes,
                    steps,
                    offered,
                    accepted,
                    draftNanos * 1e-9,
                    targetNanos * 1e-9);
        }

        /// One pass of the model, over `count` drafted tokens.
        ///
        /// @return whether the text has ended
        private boolean pass(int count) {
            List<Integer> tokens = new ArrayList<>();
            List<Distribution> q = new ArrayList<>();
            for (int i = 0; i < count; i++) {
                q.add(drafted(with(tokens)));
                tokens.add(draw(q.getLast()));
            }
            int[] all = with(tokens);
            long begun = System.nanoTime();
            float[][] logits = feed(target, checked, all, count + 1);
            targetNanos += System.nanoTime() - begun;
            passes++;
            List<Distribution> p = new ArrayList<>();
            for (int i = 0; i <= count; i++) {
                p.add(sampler.distribution(logits[i], seen(all, ids.length + i)));
            }
            Acceptance a = Acceptance.of(p, q, tokens, draws);
            for (int i = 0; i < count && i <= a.accepted(); i++) {
                offered[i]++;
                accepted[i] += i < a.accepted() ? 1 : 0;
            }
            int before = ids.length;
            boolean ended = take(tokens.subList(0, a.accepted()), a.next());
            // What was not taken over is undone; the last token is not cached yet.
            checked.truncate(Math.min(checked.length(), ids.length - 1));
            ahead.truncate(Math.min(ahead.length(), before + a.accepted()));
            return ended;
        }

        private Distribution drafted(int[] text) {
            long begun = System.nanoTime();
            float[] logits = feed(draft, ahead, text, 1)[0];
            steps++;
            if (logits.length > vocabulary) {
                logits = Arrays.copyOf(logits, vocabulary);
            }
            Distribution q = sampler.distribution(logits, seen(text, text.length));
            draftNanos += System.nanoTime() - begun;
            return q;
        }

        private int draw(Distribution q) {
            return q.ids().length == 1 ? q.ids()[0] : q.draw(draws.next());
        }

        private boolean take(List<Integer> drafts, int next) {
            for (int id : drafts) {
                ids = with(List.of(id));
                if (ends.contains(id)) {
                    return true;
                }
            }
            ids = with(List.of(next));
            return ends.contains(next);
        }

        private int[] with(List<Integer> more) {
            int[] all = Arrays.copyOf(ids, ids.length + more.size());
            for (int i = 0; i < more.size(); i++) {
                all[ids.length + i] = more.get(i);
            }
            return all;
        }

        private BitSet seen(int[] all, int count) {
            BitSet seen = new BitSet();
            if (sampler.settings().repetitionPenalty() != 1) {
                for (int i = 0; i < count; i++) {
                    seen.set(all[i]);
                }
            }
            return seen;
        }
    }
}
