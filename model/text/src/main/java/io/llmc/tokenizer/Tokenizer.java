// SPDX-License-Identifier: Apache-2.0
package io.llmc.tokenizer;

import ai.djl.huggingface.tokenizers.jni.LibUtils;
import ai.djl.huggingface.tokenizers.jni.TokenizersLibrary;
import com.google.errorprone.annotations.MustBeClosed;
import io.llmc.formats.FormatException;
import io.llmc.formats.UserException;
import io.llmc.formats.checkpoint.Checkpoint;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.Arrays;
import java.util.OptionalInt;
import java.util.function.LongFunction;

/// Text to token ids and back, as a model's tokenizer.json has it; what that file says about
/// padding and truncation is ignored.
///
/// Hugging Face's own library does the work, through the native interface that DJL ships for it,
/// and not through DJL's tokenizer class: that one sends telemetry and builds strings, spans and
/// masks for every token.
public final class Tokenizer implements AutoCloseable {
    private static final TokenizersLibrary LIBRARY = TokenizersLibrary.LIB;

    /// A hundred times what the largest published ones take.
    private static final Duration TO_OPEN = Duration.ofSeconds(60);

    private static final Duration TO_ENCODE = Duration.ofSeconds(4);
    private static final int CHARACTERS_A_MILLISECOND = 50;

    private final Handle handle;
    private final Path file;
    private final int longestPiece;
    private final OptionalInt bos;

    /// A tokenizer of the library.
    private static final class Handle implements AutoCloseable {
        private final long pointer;
        private int running;
        private boolean closed;

        Handle(long pointer) {
            this.pointer = pointer;
        }

        <T> T call(Duration limit, Path file, LongFunction<T> work) {
            begin();
            return NativeCall.within(
                    limit,
                    file,
                    () -> {
                        try {
                            return work.apply(pointer);
                        } finally {
                            end();
                        }
                    });
        }

        synchronized void requireOpen() {
            if (closed) {
                throw new IllegalStateException("the tokenizer is closed");
            }
        }

        private synchronized void begin() {
            requireOpen();
            running++;
        }

        private synchronized void end() {
            running--;
            if (closed && running == 0) {
                LIBRARY.deleteTokenizer(pointer);
            }
        }

        /// A call that was given up still reads what is deleted here: the last one deletes it.
        @Override
        public synchronized void close() {
            if (!closed && running == 0) {
                LIBRARY.deleteTokenizer(pointer);
            }
            closed = true;
        }
    }

    private Tokenizer(Handle handle, Path file, int longestPiece) {
        this.handle = handle;
        this.file = file;
        this.longestPiece = longestPiece;
        this.bos = findBos();
    }

    /// The tokenizer.json beside the weights, else what their own file says.
    ///
    /// @throws UserException where the checkpoint has neither, or the native library does not load
    /// @throws FormatException where the file is not a tokenizer
    @MustBeClosed
    public static Tokenizer open(Checkpoint c) {
        Path file = c.directory().resolve("tokenizer.json");
        if (!Files.isRegularFile(file)) {
            String inside = c.text(file.getFileName().toString()).orElseThrow(() -> missing(c));
            return open(c.config().file(), inside);
        }
        return open(file);
    }

    private static UserException missing(Checkpoint c) {
        return new UserException(
                c.directory() + " has no tokenizer.json",
                Files.exists(c.directory().resolve("tokenizer.model"))
                        ? "make one from tokenizer.model: load the tokenizer with transformers"
                                + " and save it with save_pretrained"
                        : "copy the tokenizer.json that was published with the model into it");
    }

    /// Opens a tokenizer.json.
    ///
    /// @throws FormatException where it is none, or what the native library may not see
    public static Tokenizer open(Path file) {
        return open(file, TextFiles.read(file));
    }

    private static Tokenizer open(Path file, String json) {
        TokenizerCheck.Passed passed = TokenizerCheck.check(file, json);
        loadLibrary();
        requireContent(file, passed);
        long pointer = create(file, json);
        LIBRARY.disablePadding(pointer);
        LIBRARY.disableTruncation(pointer);
        return new Tokenizer(new Handle(pointer), file, passed.longestPiece());
    }

    private static long create(Path file, String json) {
        try {
            return NativeCall.within(TO_OPEN, file, () -> LIBRARY.createTokenizerFromString(json));
        } catch (RuntimeException e) {
            throw e instanceof UserException
                    ? e
                    : new FormatException(file, "not a tokenizer: " + e.getMessage());
        }
    }

    /// An added token that its normalizer makes nothing of ends the process.
    private static void requireContent(Path file, TokenizerCheck.Passed passed) {
        if (passed.probe() == null) {
            return;
        }
        try (Handle handle = new Handle(create(file, passed.probe()))) {
            for (String token : passed.normalizedTokens()) {
                if (ids(file, handle, token, false).length == 0) {
                    throw new FormatException(
                            file, "added_tokens: '%s' is normalized to nothing".formatted(token));
                }
            }
        }
    }

    private static void loadLibrary() {
        // Otherwise DJL would look for a CUDA build of the library on the network.
        System.getProperties().putIfAbsent("ai.djl.offline", "true");
        try {
            LibUtils.checkStatus();
        } catch (RuntimeException | LinkageError e) {
            Throwable cause = e.getCause() == null ? e : e.getCause();
            throw new UserException(
                    "the tokenizer library does not load: " + cause.getMessage(),
                    "it is unpacked to .djl.ai in the home directory, or to DJL_CACHE_DIR where"
                            + " that is set: make that writable, on a disk that programs may run from");
        }
    }

    /// The ids of a text. Long texts go in pieces where that gives the same ids; see [Seams].
    ///
    /// @param specialTokens whether the ids that the tokenizer puts around a text (BOS, EOS) are
    ///   added; special tokens spelled out in the text become their ids either way
    public int[] encode(String text, boolean specialTokens) {
        return specialTokens ? encodeWhole(text, true) : encodeFirst(text, Integer.MAX_VALUE);
    }

    /// The first ids of a text, without special tokens around them: at least `enough` of them, or
    /// all.
    int[] encodeFirst(String text, int enough) {
        return new Seams(t -> encodeWhole(t, false)).encode(text, enough);
    }

    int[] encodeWhole(String text, boolean specialTokens) {
        if (text.length() > longestPiece) {
            throw new UserException(
                    "%,d characters without a place to cut them are more than the tokenizer can take, %,d"
                            .formatted(text.length(), longestPiece),
                    "break the text into lines");
        }
        return ids(file, handle, text, specialTokens);
    }

    private static int[] ids(Path file, Handle handle, String text, boolean specialTokens) {
        handle.requireOpen();
        Duration limit = TO_ENCODE.plusMillis(text.length() / CHARACTERS_A_MILLISECOND);
        try {
            return handle.call(limit, file, h -> encode(h, text, specialTokens));
        } catch (RuntimeException e) {
            throw e instanceof UserException
                    ? e
                    : new FormatException(
                            file, "this tokenizer fails on a text: " + e.getMessage());
        }
    }

    private static int[] encode(long handle, String text, boolean specialTokens) {
        long encoding = LIBRARY.encode(handle, text, specialTokens);
        try {
            return toInts(LIBRARY.getTokenIds(encoding));
        } finally {
            LIBRARY.deleteEncoding(encoding);
        }
    }

    /// The text of ids, special tokens spelled out; ids that the tokenizer does not know give
    /// nothing.
    public String decode(int[] ids) {
        return decode(ids, true);
    }

    /// @param specialTokens whether they are spelled out, or left out
    String decode(int[] ids, boolean specialTokens) {
        long[] all = Arrays.stream(ids).asLongStream().toArray();
        return handle.call(TO_OPEN, file, h -> LIBRARY.decode(h, all, !specialTokens));
    }

    /// The id that the tokenizer puts before every text; empty where it puts none.
    public OptionalInt bos() {
        return bos;
    }

    /// Where its files are.
    Path directory() {
        return file.toAbsolutePath().getParent();
    }

    private OptionalInt findBos() {
        int[] plain = encodeWhole("a", false);
        int[] framed = encodeWhole("a", true);
        boolean before =
                framed.length > plain.length
                        && Arrays.equals(framed, 1, 1 + plain.length, plain, 0, plain.length);
        boolean after =
                Arrays.equals(
                        framed, 0, Math.min(plain.length, framed.length), plain, 0, plain.length);
        return before && !after ? OptionalInt.of(framed[0]) : OptionalInt.empty();
    }

    private static int[] toInts(long[] ids) {
        int[] ints = new int[ids.length];
        for (int i = 0; i < ids.length; i++) {
            ints[i] = Math.toIntExact(ids[i]);
        }
        return ints;
    }

    @Override
    public void close() {
        handle.close();
    }
}
