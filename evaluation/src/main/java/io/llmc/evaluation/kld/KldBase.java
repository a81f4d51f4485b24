// SPDX-License-Identifier: Apache-2.0
package io.llmc.evaluation.kld;

import com.google.errorprone.annotations.MustBeClosed;
import io.llmc.formats.FileKind;
import io.llmc.formats.FormatException;
import io.llmc.formats.OpenFile;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.Arrays;

/// A base file of llama.cpp's `llama-perplexity --kl-divergence-base`, open for reading.
///
/// Little-endian: `_logits_`; three numbers, [KldShape]; the ids of the text, with BOS before them
/// where the vocabulary has it; then a record a scored position, see [KldRecord]. A stranger's
/// file: every length is compared with the file's before anything of that length is made.
public final class KldBase implements AutoCloseable {
    static final byte[] MAGIC = "_logits_".getBytes(StandardCharsets.US_ASCII);

    /// More than any published model has.
    private static final int MAX_VOCABULARY = 1 << 24;

    private static final int MAX_IDS = 1 << 27;

    private final OpenFile file;
    private final KldShape shape;
    private final int[] ids;
    private final KldRecord record;
    private final ByteBuffer buffer;
    private final float[] logProbabilities;
    private int best;

    private KldBase(OpenFile file, KldShape shape, int[] ids) {
        this.file = file;
        this.shape = shape;
        this.ids = ids;
        this.record = new KldRecord(shape.vocabulary());
        this.buffer = ByteBuffer.allocate(Math.toIntExact(shape.recordBytes()));
        this.logProbabilities = new float[shape.vocabulary()];
    }

    /// @throws FormatException where it is no whole base file
    /// @throws io.llmc.formats.UserException where it cannot be read
    @MustBeClosed
    public static KldBase open(Path path) {
        FileKind.requireFile(path);
        OpenFile file = OpenFile.open(path);
        try {
            KldShape shape = shape(file);
            return new KldBase(file, shape, ids(file, shape));
        } catch (RuntimeException e) {
            file.close();
            throw e;
        }
    }

    private static KldShape shape(OpenFile file) {
        ByteBuffer head = ByteBuffer.allocate(KldShape.HEAD).order(ByteOrder.LITTLE_ENDIAN);
        boolean enough = file.bytes() >= KldShape.HEAD;
        if (enough) {
            file.read(head, 0);
        }
        if (!enough || Arrays.mismatch(head.array(), MAGIC) != MAGIC.length) {
            throw FileKind.ofBinary(file.path())
                    .map(kind -> kind.refusal(file.path(), "a KLD base of llama.cpp"))
                    .orElseGet(() ->
                            new FormatException(file.path(), "is not a KLD base of llama.cpp"));
        }
        head.position(MAGIC.length);
        int context = within(file, head, "context", 4, MAX_IDS);
        int vocabulary = within(file, head, "vocabulary", 1, MAX_VOCABULARY);
        int chunks = within(file, head, "number of chunks", 1, MAX_IDS / context);
        KldShape shape = new KldShape(context, vocabulary, chunks);
        if (shape.bytes() != file.bytes()) {
            throw new FormatException(
                    file.path(),
                    "%,d chunks of %,d tokens over a vocabulary of %,d take %,d bytes, the file has %,d%s"
                            .formatted(
                                    chunks,
                                    context,
                                    vocabulary,
                                    shape.bytes(),
                                    file.bytes(),
                                    file.bytes() < shape.bytes()
                                            ? ": what wrote it did not come to its end, make it"
                                                    + " again"
                                            : ""));
        }
        return shape;
    }

    private static int within(OpenFile file, ByteBuffer head, String what, int least, int most) {
        int at = head.position();
        int value = head.getInt();
        if (value < least || value > most) {
            throw new FormatException(
                    file.path(),
                    at,
                    "the %s is %d, expected %,d to %,d".formatted(what, value, least, most));
        }
        return value;
    }

    private static int[] ids(OpenFile file, KldShape shape) {
        ByteBuffer bytes =
                ByteBuffer.allocate(Math.toIntExact(4 * shape.ids()))
                        .order(ByteOrder.LITTLE_ENDIAN);
        file.read(bytes, KldShape.HEAD);
        int[] ids = new int[(int) shape.ids()];
        bytes.flip().asIntBuffer().get(ids);
        for (int i = 0; i < ids.length; i++) {
            if (ids[i] < 0 || ids[i] >= shape.vocabulary()) {
                throw new FormatException(
                        file.path(),
                        KldShape.HEAD + 4L * i,
                        "token id %d is outside of the vocabulary of %,d"
                                .formatted(ids[i], shape.vocabulary()));
            }
        }
        return ids;
    }

    public Path path() {
        return file.path();
    }

    public KldShape shape() {
        return shape;
    }

    /// Of the text, chunk after chunk; BOS stands before the text alone.
    public int[] ids() {
        return ids;
    }

    /// Reads what was predicted at a scored position.
    ///
    /// @throws FormatException where that are no log-probabilities
    public void read(long row) {
        long at = shape.recordsAt() + row * shape.recordBytes();
        file.read(buffer.clear(), at);
        best = record.decode(logProbabilities, buffer.flip());
        if (best < 0) {
            throw new FormatException(
                    file.path(), at, "record %,d holds no log-probabilities".formatted(row));
        }
    }

    /// Of the row that was read; the first of equals.
    public int best() {
        return best;
    }

    /// `-log p` of a token in the row that was read; a token far less likely than the best counts
    /// as `e^-16` of that.
    public float loss(int token) {
        return -logProbabilities[token];
    }

    /// `KL(base || model)` of the row that was read, over the tokens that the base gives more than
    /// `e^-16`.
    ///
    /// @param logits the model's
    /// @param logSum `log sum exp logits`
    public double divergence(float[] logits, double logSum) {
        double sum = 0;
        for (int i = 0; i < logits.length; i++) {
            float base = logProbabilities[i];
            if (base > -16) {
                sum += Math.exp(base) * (base - (logits[i] - logSum));
            }
        }
        return sum;
    }

    @Override
    public void close() {
        file.close();
    }
}
