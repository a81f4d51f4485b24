// SPDX-License-Identifier: Apache-2.0
package io.llmc.evaluation;

import static java.nio.charset.StandardCharsets.UTF_8;

import com.fasterxml.jackson.databind.node.ObjectNode;
import com.google.errorprone.annotations.MustBeClosed;
import io.llmc.backend.Backend;
import io.llmc.evaluation.kld.KldBase;
import io.llmc.evaluation.kld.KldBaseWriter;
import io.llmc.evaluation.kld.KldShape;
import io.llmc.formats.Json;
import io.llmc.formats.UserException;
import io.llmc.formats.checkpoint.Checkpoint;
import io.llmc.tensor.Tensor;
import io.llmc.tokenizer.TextFiles;
import io.llmc.tokenizer.Tokenizer;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.Optional;
import java.util.OptionalInt;

/// The base files of an evaluation: one that the model is compared with, one that is made of its
/// predictions, or none.
final class BaseFiles implements AutoCloseable {
    /// Null where there is none.
    private final KldBase base;

    private final Path saved;
    private KldBaseWriter writer;
    private Arena host;
    private MemorySegment piece;
    private float[] row;
    private long next;

    @MustBeClosed
    @SuppressWarnings("MustBeClosed") // closed by close()
    BaseFiles(EvalSpec spec) {
        base = spec.kldBase() == null ? null : KldBase.open(spec.kldBase());
        saved = spec.saveKldBase();
    }

    /// Whether the model is compared with a base.
    boolean compares() {
        return base != null;
    }

    /// What was asked, with what the base decides.
    EvalSpec resolve(EvalSpec spec) {
        return base == null ? spec : spec.within(base.shape());
    }

    /// @throws UserException where the base is of another vocabulary
    void requireVocabulary(int vocabulary, Path model) {
        if (base != null && base.shape().vocabulary() != vocabulary) {
            throw new UserException(
                    "%s is a base over a vocabulary of %,d tokens, %s has one of %,d"
                            .formatted(base.path(), base.shape().vocabulary(), model, vocabulary),
                    "name a base of the model that this one was made from");
        }
    }

    /// The windows of the base's text.
    ///
    /// @throws UserException where a text is given, and its ids are others
    ScoredWindows windows(EvalSpec spec, Checkpoint model) {
        Optional<String> ends = model.text("generation_config.json");
        if (spec.data() == null && ends.isPresent()) {
            return ScoredWindows.ofChunks(base.ids(), spec, bos(ends.get(), model));
        }
        try (Tokenizer tokenizer = Tokenizer.open(model)) {
            if (spec.data() != null) {
                int[] ids = TextFiles.tokens(spec.data(), tokenizer);
                requireSame(spec.data(), ScoredWindows.begun(ids, tokenizer.bos()));
            }
            return ScoredWindows.ofChunks(base.ids(), spec, tokenizer.bos());
        }
    }

    /// Of a model that is one file, and may have no tokenizer: its BOS, where whoever wrote the
    /// base put it before the text.
    private OptionalInt bos(String ends, Checkpoint model) {
        int first = base.ids()[0];
        ObjectNode ids = Json.readObject(model.config().file(), ends.getBytes(UTF_8));
        return ids.path("bos_token_id").asInt(-1) == first
                ? OptionalInt.of(first)
                : OptionalInt.empty();
    }

    private void requireSame(Path data, int[] text) {
        int[] ids = base.ids();
        int at = Arrays.mismatch(ids, text);
        if (at < 0 || at == ids.length) {
            return;
        }
        String what =
                at == text.length
                        ? "it has %,d tokens, %s has %,d".formatted(ids.length, data, text.length)
                        : "its token %,d is %d, that of %s is %d"
                                .formatted(at, ids[at], data, text[at]);
        throw new UserException(
                "%s is the base of another text: %s".formatted(base.path(), what),
                "name the text that it was made of, or leave {data} away: a base holds its tokens");
    }

    /// Before any work.
    ///
    /// @throws UserException where the disk has no room for the base that is to be written
    void requireRoom(KldShape shape) {
        if (saved == null) {
            return;
        }
        Path directory = saved.toAbsolutePath().getParent();
        if (directory == null || !Files.isDirectory(directory) || Files.isDirectory(saved)) {
            throw new UserException(
                    "%s: no file can be written there".formatted(saved),
                    "name a file in a directory that is there");
        }
        try {
            long free = Files.getFileStore(directory).getUsableSpace();
            if (free > 0 && free < shape.bytes()) {
                throw new UserException(
                        "%s: %,d bytes needed, %,d free on this disk"
                                .formatted(saved, shape.bytes(), free),
                        "lower {maxWindows}, or name a file on another disk");
            }
        } catch (IOException e) {
            throw Json.unwritable(saved, e);
        }
    }

    /// Makes room for the logits of a piece, and the file that is to be written.
    ///
    /// @param text ids, with BOS before them where the tokenizer has it
    @SuppressWarnings("MustBeClosed") // closed by close()
    void begin(Backend backend, int rows, KldShape shape, int[] text) {
        if (base == null && saved == null) {
            return;
        }
        host = backend.host().newArena();
        piece = host.allocate(4L * rows * shape.vocabulary(), 64);
        row = new float[shape.vocabulary()];
        if (saved != null) {
            try {
                writer = KldBaseWriter.create(saved, shape, text);
            } catch (IOException e) {
                throw Json.unwritable(saved, e);
            }
        }
    }

    /// The next rows.
    ///
    /// @param logits `[rows, vocabulary]`
    /// @param targets the token that came after each, from `from` on
    /// @param figures that have the model's losses of these rows, from `at` on
    void take(
            Backend backend, Tensor logits, int[] targets, int from, TokenFigures figures, int at) {
        if (piece == null) {
            return;
        }
        backend.download(piece.asSlice(0, logits.byteSize()), logits);
        for (int r = 0; r < logits.rows(); r++) {
            MemorySegment.copy(
                    piece, ValueLayout.JAVA_FLOAT, 4L * r * row.length, row, 0, row.length);
            if (writer != null) {
                append();
            }
            if (base != null) {
                compare(targets[from + r], figures, at + r);
            }
        }
    }

    private void append() {
        try {
            writer.append(row);
        } catch (IOException e) {
            throw Json.unwritable(saved, e);
        }
    }

    private void compare(int target, TokenFigures figures, int at) {
        base.read(next++);
        double logSum = (double) figures.losses[at] + row[target];
        figures.originalLosses[at] = base.loss(target);
        figures.divergences[at] = (float) base.divergence(row, logSum);
        figures.agree(base.best() == best(row));
    }

    private static int best(float[] x) {
        int best = 0;
        for (int i = 1; i < x.length; i++) {
            best = x[i] > x[best] ? i : best;
        }
        return best;
    }

    /// After the last row: gives what was written its name.
    void finish() {
        if (writer != null) {
            try {
                writer.finish();
            } catch (IOException e) {
                throw Json.unwritable(saved, e);
            }
        }
    }

    @Override
    public void close() {
        if (host != null) {
            host.close();
        }
        if (base != null) {
            base.close();
        }
        if (writer != null) {
            try {
                writer.close();
            } catch (IOException e) {
                throw Json.unwritable(saved, e);
            }
        }
    }
}
