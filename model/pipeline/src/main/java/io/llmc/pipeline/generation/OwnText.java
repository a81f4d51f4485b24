// SPDX-License-Identifier: Apache-2.0
package io.llmc.pipeline.generation;

import io.llmc.backend.Backend;
import io.llmc.formats.FormatException;
import io.llmc.formats.UserException;
import io.llmc.formats.checkpoint.Checkpoint;
import io.llmc.model.ModelSpec;
import io.llmc.model.arch.Architectures;
import io.llmc.model.decoding.CacheSettings;
import io.llmc.model.decoding.Decoder;
import io.llmc.pipeline.Progress;
import io.llmc.tensor.DType;
import io.llmc.tokenizer.ChatTemplate;
import io.llmc.tokenizer.ChatTemplate.Message;
import io.llmc.tokenizer.Tokenizer;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Optional;
import java.util.OptionalInt;
import java.util.stream.IntStream;

/// Text that a model writes itself, where there is none to calibrate it with: documents, one behind
/// the other, drawn from its own distribution as it is (Liu et al., 2023,
/// https://arxiv.org/abs/2305.17888; Williams et al., 2024, https://arxiv.org/abs/2410.17170).
///
/// A model with a chat template writes conversations: what a user might say, after the template's
/// own beginning of a user's message (Xu et al., 2024, https://arxiv.org/abs/2406.08464), and the
/// answer.
///
/// A seed means the same text whatever the memory: as many documents go on together always.
///
/// @param checkpoint of the model
/// @param progress hears of the tokens
public record OwnText(Checkpoint checkpoint, Backend backend, Progress progress) {
    private static final int TOGETHER = 16;
    private static final int ROWS = 512;

    /// How often more documents are begun where those before ended early.
    private static final int ROUNDS = 16;

    private static final String PROBE = "\u2042probe\u2042";

    /// What a template puts around a user's message.
    private record Turn(int[] before, int[] after) {}

    /// Bytes that [#write] takes outside the Java heap.
    public long bytes(int length) {
        ModelSpec spec = Architectures.specOf(checkpoint);
        try (Tokenizer tokenizer = Tokenizer.open(checkpoint)) {
            return new GenerationMemory(checkpoint, spec, backend)
                    .bytes(cache(spec, length, turn(tokenizer, spec, length)));
        }
    }

    private static CacheSettings cache(ModelSpec spec, int length, Optional<Turn> turn) {
        int template = turn.map(t -> t.before.length + t.after.length).orElse(1);
        long longest = Math.min(spec.maxPositions(), (long) template + length);
        return new CacheSettings(TOGETHER * longest, TOGETHER + 1, ROWS, DType.BF16, 0);
    }

    /// Ids of windows.
    ///
    /// @param part another gives other text
    /// @throws UserException where the model ends its texts too early
    public int[] write(int windows, int length, long seed, int part) {
        ModelSpec spec = Architectures.specOf(checkpoint);
        SpecialTokens special = SpecialTokens.of(checkpoint);
        int[] text = new int[windows * length];
        try (Tokenizer tokenizer = Tokenizer.open(checkpoint)) {
            Optional<Turn> turn = turn(tokenizer, spec, length);
            CacheSettings cache = cache(spec, length, turn);
            try (Decoder decoder = Decoder.open(checkpoint, spec, backend, cache)) {
                progress.begin("writing calibration text", text.length);
                Writer writer = new Writer(decoder, tokenizer, special, turn, length, text);
                for (int round = 0; writer.count < text.length; round++) {
                    if (round == ROUNDS) {
                        throw new UserException(
                                "the model ends its texts so early that %,d of them have %,d of %,d tokens"
                                        .formatted(writer.documents, writer.count, text.length),
                                "name a calibration text with {calibration.data}");
                    }
                    writer.round(Draws.derived(seed, (long) part * ROUNDS + round));
                }
                progress.end();
            }
        }
        return text;
    }

    /// Empty where there is no template, or none that a message can be taken out of.
    private Optional<Turn> turn(Tokenizer tokenizer, ModelSpec spec, int length) {
        try {
            Optional<String> text =
                    ChatTemplate.open(checkpoint)
                            .map(t -> t.render(List.of(new Message("user", PROBE))));
            int at = text.map(t -> t.indexOf(PROBE)).orElse(-1);
            if (at <= 0) {
                return Optional.empty();
            }
            int[] before = tokenizer.encode(text.orElseThrow().substring(0, at), false);
            int[] after =
                    tokenizer.encode(text.orElseThrow().substring(at + PROBE.length()), false);
            boolean fits =
                    before.length > 0
                            && before.length + after.length + length < spec.maxPositions();
            return fits ? Optional.of(new Turn(before, after)) : Optional.empty();
        } catch (FormatException e) {
            return Optional.empty();
        }
    }

    /// Fills a text with documents.
    private final class Writer implements GenerationListener {
        private final Decoder decoder;
        private final Tokenizer tokenizer;
        private final SpecialTokens special;
        private final Optional<Turn> turn;
        private final int length;
        private final int[] text;
        private int count;
        private int documents;
        private int shown;

        Writer(
                Decoder decoder,
                Tokenizer tokenizer,
                SpecialTokens special,
                Optional<Turn> turn,
                int length,
                int[] text) {
            this.decoder = decoder;
            this.tokenizer = tokenizer;
            this.special = special;
            this.turn = turn;
            this.length = length;
            this.text = text;
        }

        @Override
        public void token(int prompt, int id) {
            show(1);
        }

        private void show(int more) {
            int tokens = Math.clamp(more, 0, text.length - shown);
            shown += tokens;
            progress.advance(tokens, "");
        }

        /// As many documents as fill the rest where none ends early.
        void round(long seed) {
            int number = Math.ceilDiv(text.length - count, length);
            List<int[]> written =
                    turn.map(t -> conversations(t, number, seed))
                            .orElseGet(() -> plain(number, seed));
            documents += number;
            for (int[] document : written) {
                int taken = Math.min(document.length, text.length - count);
                System.arraycopy(document, 0, text, count, taken);
                count += taken;
            }
            show(count - shown);
        }

        /// Behind the token that texts begin with, which is left out as it is of other texts.
        private List<int[]> plain(int number, long seed) {
            OptionalInt first =
                    special.bos().isPresent()
                            ? special.bos()
                            : special.ends().stream().mapToInt(id -> id).findFirst();
            List<int[]> begun = new ArrayList<>();
            for (int i = 0; i < number; i++) {
                int random = (int) (new Draws(~seed, i).next() * decoder.spec().vocabulary());
                begun.add(new int[] {first.orElse(random)});
            }
            return continued(begun, length, Draws.derived(seed, 0)).stream()
                    .map(this::withoutEnd)
                    .toList();
        }

        private List<int[]> conversations(Turn turn, int number, long seed) {
            List<int[]> begun = new ArrayList<>();
            for (int i = 0; i < number; i++) {
                begun.add(turn.before);
            }
            int half = Math.max(1, length / 2);
            List<int[]> said = continued(begun, half, Draws.derived(seed, 0));
            List<int[]> asked =
                    said.stream()
                            .map(ids -> joined(turn.before, withoutEnd(ids), turn.after))
                            .toList();
            List<int[]> answers = continued(asked, length - half, Draws.derived(seed, 1));
            return IntStream.range(0, number)
                    .mapToObj(i -> joined(asked.get(i), answers.get(i)))
                    .toList();
        }

        private List<int[]> continued(List<int[]> prompts, int tokens, long seed) {
            GenerationSettings settings =
                    new GenerationSettings(
                            SamplingSettings.drawing(1, seed), tokens, special.ends());
            return new Generator(decoder, tokenizer, settings)
                    .run(prompts, this).stream().map(Generation::ids).toList();
        }

        private int[] withoutEnd(int[] ids) {
            boolean ends = ids.length > 0 && special.ends().contains(ids[ids.length - 1]);
            return ends ? Arrays.copyOf(ids, ids.length - 1) : ids;
        }

        private static int[] joined(int[]... parts) {
            return Arrays.stream(parts).flatMapToInt(IntStream::of).toArray();
        }
    }
}
