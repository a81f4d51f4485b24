// SPDX-License-Identifier: Apache-2.0
package io.llmc.distill.teacher;

import io.llmc.formats.UserException;
import io.llmc.formats.checkpoint.Checkpoint;
import io.llmc.model.arch.Architectures;
import io.llmc.tokenizer.TextFiles;
import io.llmc.tokenizer.Tokenizer;
import io.llmc.tokenizer.Vocabulary;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;

/// The text of a cache, once it is sure that its ids mean to a student what they meant to the
/// teacher.
public final class CachedText {
    /// Ids whose text both tokenizers must cut alike.
    private static final int COMPARED = 1 << 17;

    private CachedText() {}

    /// @param data null where the cache's own text is to be learnt from
    /// @throws UserException where vocabularies, tokenizers or texts differ
    public static int[] ids(Checkpoint student, TeacherCache cache, Path data) {
        int own = Architectures.specOf(student).vocabulary();
        try (Tokenizer tokenizer = Tokenizer.open(student)) {
            requireSameTokens(student, tokenizer, cache);
            Vocabulary.common(
                    student.directory().resolve("tokenizer.json"),
                    own,
                    cache.directory().resolve("tokenizer.json"),
                    cache.header().vocabulary());
            if (data != null) {
                requireSameText(data, tokenizer, cache);
            }
        }
        return cache.ids();
    }

    private static void requireSameTokens(
            Checkpoint student, Tokenizer tokenizer, TeacherCache cache) {
        Path file = cache.directory().resolve("tokenizer.json");
        if (!Files.isRegularFile(file)) {
            throw new UserException(
                    cache.directory() + " has no tokenizer.json",
                    "save the teacher's predictions again");
        }
        Path own = student.directory().resolve("tokenizer.json");
        Vocabulary.requireSame(own, file);
        try {
            if (Files.mismatch(file, own) < 0) {
                return;
            }
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
        try (Tokenizer other = Tokenizer.open(file)) {
            int some = Math.min(COMPARED, cache.ids().length);
            String text = other.decode(Arrays.copyOf(cache.ids(), some));
            int[] mine = tokenizer.encode(text, false);
            int[] theirs = other.encode(text, false);
            int at = Arrays.mismatch(mine, theirs);
            if (at >= 0) {
                throw new UserException(
                        "student and teacher have different vocabularies: token %,d of the text in %s is %s for the student and %s for the teacher"
                                .formatted(
                                        at,
                                        cache.directory(),
                                        at < mine.length ? mine[at] : "missing",
                                        at < theirs.length ? theirs[at] : "missing"),
                        "choose a teacher with the student's tokenizer");
            }
        }
    }

    private static void requireSameText(Path data, Tokenizer tokenizer, TeacherCache cache) {
        int[] ids = TextFiles.tokens(data, tokenizer);
        int length = cache.header().length();
        int whole = ids.length / length * length;
        if (!CacheWriter.hash(ids, whole).equals(cache.header().idsSha256())) {
            throw new UserException(
                    "%s is not the text that the teacher of %s was asked about"
                            .formatted(data, cache.directory()),
                    "leave {data} out, or save the teacher's predictions of that text");
        }
    }
}
