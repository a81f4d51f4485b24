// SPDX-License-Identifier: Apache-2.0
package io.llmc.evaluation.kld;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import io.llmc.formats.FormatException;
import io.llmc.formats.Sha256;
import io.llmc.formats.TestFiles;
import io.llmc.formats.UserException;
import io.llmc.formats.checkpoint.Checkpoint;
import io.llmc.formats.checkpoint.TensorReader;
import java.io.IOException;
import java.lang.foreign.ValueLayout;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.Random;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

class KldBaseTest {
    private static final KldShape SMALL = new KldShape(6, 11, 3);

    @TempDir Path temp;

    /// The sums are of what llama.cpp's own function makes of these logits.
    @ParameterizedTest
    @CsvSource({
        "2048, a4f7a58a477b0d6b63c46e8238f7240d7b73d4348efb6b536a76590975081886",
        "2047, 38b75fe46688e951a76dc778dea0fe55ea8d44245589ce558a0f732e38c4c450"
    })
    void recordsAreTheBytesOfLlamaCpp(int vocabulary, String sum) {
        Path logits = TestFiles.shared("oracles/gguf/tiny/logits.safetensors");
        assumeTrue(Files.exists(logits), "no oracles beside the checkout");
        float[] all = floats(logits, "F16.dequantized_f32");
        KldRecord record = new KldRecord(vocabulary);
        ByteBuffer bytes = ByteBuffer.allocate((int) new KldShape(4, vocabulary, 1).recordBytes());
        Sha256 found = new Sha256();
        for (int from = 0; from < all.length; from += 2048) {
            record.encode(bytes.clear(), Arrays.copyOfRange(all, from, from + vocabulary));
            found.add(bytes);
        }
        assertThat(found.hex()).isEqualTo(sum);
    }

    private static float[] floats(Path file, String name) {
        try (Checkpoint c = Checkpoint.ofFile(file);
                TensorReader reader = c.reader()) {
            return reader.tensor(name).bytes().toArray(ValueLayout.JAVA_FLOAT);
        }
    }

    /// Log-probabilities that 16 bits can hold have the same codes again.
    @ParameterizedTest
    @ValueSource(strings = {"f16", "q4_0"})
    void filesOfLlamaCppAreReadAndWrittenAgain(String name) throws IOException {
        Path file = TestFiles.shared("oracles/kld/" + name + ".kld");
        assumeTrue(Files.exists(file), "no oracles beside the checkout");
        byte[] theirs = Files.readAllBytes(file);
        Path copy = temp.resolve("copy.kld");
        try (KldBase base = KldBase.open(file)) {
            assertThat(base.shape()).isEqualTo(new KldShape(128, 2048, 2));
            try (KldBaseWriter out = KldBaseWriter.create(copy, base.shape(), base.ids())) {
                for (int row = 0; row < base.shape().rows(); row++) {
                    base.read(row);
                    float[] logProbabilities = new float[2048];
                    double sum = 0;
                    for (int i = 0; i < 2048; i++) {
                        logProbabilities[i] = -base.loss(i);
                        sum += Math.exp(logProbabilities[i]);
                    }
                    assertThat(sum).isCloseTo(1, within(2e-4));
                    out.append(logProbabilities);
                }
                out.finish();
            }
        }
        byte[] ours = Files.readAllBytes(copy);
        assertThat(ours).hasSameSizeAs(theirs);
        int records = 20 + 4 * 256;
        assertThat(Arrays.copyOf(ours, records)).isEqualTo(Arrays.copyOf(theirs, records));
        for (int at = records; at < theirs.length; at += 2 * 2052) {
            assertThat(Arrays.copyOfRange(ours, at + 8, at + 2 * 2052))
                    .isEqualTo(Arrays.copyOfRange(theirs, at + 8, at + 2 * 2052));
        }
    }

    @ParameterizedTest
    @ValueSource(ints = {1, 2, 7, 64})
    void whatIsReadIsTheLogSoftmaxWithinHalfAStep(int vocabulary) {
        Random random = new Random(vocabulary);
        KldRecord record = new KldRecord(vocabulary);
        ByteBuffer bytes = ByteBuffer.allocate((int) new KldShape(4, vocabulary, 1).recordBytes());
        float[] read = new float[vocabulary];
        for (int trial = 0; trial < 200; trial++) {
            float[] logits = new float[vocabulary];
            float spread = trial % 4 * 8;
            for (int i = 0; i < vocabulary; i++) {
                logits[i] = (float) (spread * random.nextGaussian()) + 3;
            }
            record.encode(bytes.clear(), logits);
            int best = record.decode(read, bytes);
            double max = max(logits);
            double sum = 0;
            for (float x : logits) {
                sum += Math.exp(x - max);
            }
            assertThat((double) logits[best]).isCloseTo(max, within(2e-4));
            for (int i = 0; i < vocabulary; i++) {
                double expected = Math.max(logits[i], max - 16) - max - Math.log(sum);
                assertThat((double) read[i]).isCloseTo(expected, within(8.0 / 65535 + 4e-6));
            }
        }
    }

    private static double max(float[] x) {
        double max = x[0];
        for (float v : x) {
            max = Math.max(max, v);
        }
        return max;
    }

    private Path small() throws IOException {
        Path file = temp.resolve("small.kld");
        int[] ids = new int[(int) SMALL.ids()];
        try (KldBaseWriter out = KldBaseWriter.create(file, SMALL, ids)) {
            for (int row = 0; row < SMALL.rows(); row++) {
                float[] logits = new float[SMALL.vocabulary()];
                logits[row] = 2;
                out.append(logits);
            }
            assertThatThrownBy(() -> out.append(new float[11]))
                    .isInstanceOf(IllegalStateException.class);
        } catch (IllegalStateException e) {
            throw new AssertionError(e);
        }
        assertThat(file).doesNotExist();
        try (KldBaseWriter out = KldBaseWriter.create(file, SMALL, ids)) {
            for (int row = 0; row < SMALL.rows(); row++) {
                float[] logits = new float[SMALL.vocabulary()];
                logits[row] = 2;
                out.append(logits);
            }
            out.finish();
        }
        assertThat(Files.size(file)).isEqualTo(SMALL.bytes()).isEqualTo(20 + 72 + 6 * 32);
        return file;
    }

    @Test
    void aFileHasItsNameOnceItIsWhole() throws IOException {
        try (KldBase base = KldBase.open(small())) {
            for (int row = 0; row < SMALL.rows(); row++) {
                base.read(row);
                assertThat(base.best()).isEqualTo(row);
            }
        }
        assertThat(temp).isDirectoryContaining(f -> f.endsWith("small.kld"));
        assertThat(temp).isDirectoryNotContaining(f -> f.toString().endsWith(".tmp"));
    }

    @Test
    void aDivergenceIsThatOfTheDistributions() throws IOException {
        try (KldBase base = KldBase.open(small())) {
            base.read(0);
            float[] even = new float[11];
            // The base gives e^2/(e^2 + 10) to one token, and the tenth part of the rest to each.
            double p = Math.exp(2) / (Math.exp(2) + 10);
            double expected = p * Math.log(p * 11) + (1 - p) * Math.log((1 - p) / 10 * 11);
            assertThat(base.divergence(even, Math.log(11))).isCloseTo(expected, within(1e-6));
        }
    }

    @Test
    void everyShorterFileIsRefused() throws IOException {
        byte[] whole = Files.readAllBytes(small());
        Path file = temp.resolve("short.kld");
        for (int bytes = 0; bytes < whole.length; bytes++) {
            Files.write(file, Arrays.copyOf(whole, bytes));
            assertThatThrownBy(() -> KldBase.open(file).close())
                    .isInstanceOfAny(FormatException.class, UserException.class)
                    .hasMessageContaining("short.kld");
        }
        Files.write(file, Arrays.copyOf(whole, whole.length + 1));
        assertThatThrownBy(() -> KldBase.open(file).close())
                .isInstanceOf(FormatException.class)
                .hasMessageContaining("take 284 bytes, the file has 285");
    }

    @ParameterizedTest
    @ValueSource(ints = {Integer.MIN_VALUE, -1, 0, 1, 2, 3, 1 << 20, Integer.MAX_VALUE})
    void numbersThatCannotBeAreRefused(int value) throws IOException {
        byte[] whole = Files.readAllBytes(small());
        Path file = temp.resolve("wrong.kld");
        for (int at = 8; at < 24; at += 4) {
            byte[] wrong = whole.clone();
            ByteBuffer bytes = ByteBuffer.wrap(wrong).order(ByteOrder.LITTLE_ENDIAN);
            if (bytes.getInt(at) == value || at == 20 && value >= 0 && value < 11) {
                continue;
            }
            bytes.putInt(at, value);
            Files.write(file, wrong);
            assertThatThrownBy(() -> KldBase.open(file).close())
                    .isInstanceOf(FormatException.class)
                    .hasMessageContaining("wrong.kld");
        }
    }

    @ParameterizedTest
    @CsvSource({"0, NaN", "0, -1", "0, Infinity", "4, NaN", "4, Infinity", "4, -Infinity", "4, 1"})
    void recordsThatAreNoProbabilitiesAreRefused(int at, float value) throws IOException {
        byte[] whole = Files.readAllBytes(small());
        int record = 20 + 72 + 32;
        ByteBuffer.wrap(whole).order(ByteOrder.LITTLE_ENDIAN).putFloat(record + at, value);
        Path file = Files.write(temp.resolve("wrong.kld"), whole);
        try (KldBase base = KldBase.open(file)) {
            base.read(0);
            assertThatThrownBy(() -> base.read(1))
                    .isInstanceOf(FormatException.class)
                    .hasMessageContaining("byte 124: record 1 holds no log-probabilities");
        }
    }

    @Test
    @SuppressWarnings("MustBeClosed") // nothing is opened
    void anotherKindOfFileIsCalledByItsName() throws IOException {
        Path json = Files.writeString(temp.resolve("a.json"), "{\"a\": 1234567890123456789012}");
        assertThatThrownBy(() -> KldBase.open(json).close()).hasMessageContaining("JSON");
        assertThatThrownBy(() -> KldBase.open(temp).close())
                .isInstanceOf(UserException.class)
                .hasMessageContaining("is a directory");
    }
}
