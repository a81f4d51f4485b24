// SPDX-License-Identifier: Apache-2.0
package io.llmc.distill.training;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.google.errorprone.annotations.MustBeClosed;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.OptionalLong;
import java.util.SequencedMap;
import java.util.function.LongSupplier;

/// How long the steps of a run take, and whether it is time to save: all that a run knows of the
/// clock. `train-times.jsonl` has a line for every step that was done. A step that is done again
/// after an interruption has two lines.
public final class StepTimes implements AutoCloseable {
    public static final String FILE = "train-times.jsonl";
    private static final ObjectMapper JSON = new ObjectMapper();

    private final FileChannel out;
    private final LongSupplier nanos;
    private final double saveMinutes;
    private final List<Double> speeds;
    private long began;
    private long saved;

    /// Goes on in the file that an earlier run has left, after its last whole line.
    ///
    /// @param saveMinutes between two saved states; 0 for never
    /// @param nanos a clock of nanoseconds with any origin
    @MustBeClosed
    public static StepTimes open(Path work, double saveMinutes, LongSupplier nanos) {
        try {
            FileChannel out =
                    FileChannel.open(
                            work.resolve(FILE),
                            StandardOpenOption.CREATE,
                            StandardOpenOption.READ,
                            StandardOpenOption.WRITE);
            try {
                List<Double> speeds = new ArrayList<>();
                long whole = whole(work.resolve(FILE), speeds);
                out.truncate(whole).position(whole);
                return new StepTimes(out, saveMinutes, nanos, speeds);
            } catch (IOException | RuntimeException e) {
                out.close();
                throw e;
            }
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    private StepTimes(
            FileChannel out, double saveMinutes, LongSupplier nanos, List<Double> speeds) {
        this.out = out;
        this.saveMinutes = saveMinutes;
        this.nanos = nanos;
        this.speeds = speeds;
        this.saved = nanos.getAsLong();
    }

    /// Bytes of the whole lines at the beginning of a file.
    private static long whole(Path file, List<Double> speeds) throws IOException {
        byte[] bytes = Files.readAllBytes(file);
        int from = 0;
        for (int at = 0; at < bytes.length; at++) {
            if (bytes[at] == '\n') {
                double speed = speed(new String(bytes, from, at - from, StandardCharsets.UTF_8));
                if (!(speed > 0)) {
                    break;
                }
                speeds.add(speed);
                from = at + 1;
            }
        }
        return from;
    }

    /// NaN where a line is not one of ours.
    private static double speed(String line) {
        try {
            JsonNode read = JSON.readTree(line);
            return read.path("tokens_per_s").asDouble(Double.NaN);
        } catch (IOException e) {
            return Double.NaN;
        }
    }

    /// A step begins.
    public void begin() {
        began = nanos.getAsLong();
    }

    /// The step that has begun last is done.
    ///
    /// @param step from 1
    /// @return tokens a second
    public double done(long step, long tokens) {
        // A clock may stand still between two readings.
        double seconds = Math.max(1, nanos.getAsLong() - began) / 1e9;
        double speed = tokens / seconds;
        SequencedMap<String, Object> line = new LinkedHashMap<>();
        line.put("step", step);
        line.put("seconds", seconds);
        line.put("tokens_per_s", speed);
        try {
            ByteBuffer bytes =
                    ByteBuffer.wrap(
                            (JSON.writeValueAsString(line) + "\n")
                                    .getBytes(StandardCharsets.UTF_8));
            while (bytes.hasRemaining()) {
                out.write(bytes);
            }
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
        speeds.add(speed);
        return speed;
    }

    /// Whether so many minutes have passed since the last saved state.
    public boolean asksToSave() {
        return saveMinutes > 0 && (nanos.getAsLong() - saved) / 60e9 >= saveMinutes;
    }

    /// A state was saved.
    public void saved() {
        saved = nanos.getAsLong();
    }

    /// Tokens a second, the median over all steps of the file; empty where there are none.
    public OptionalLong median() {
        List<Double> sorted = speeds.stream().sorted().toList();
        int n = sorted.size();
        return n == 0
                ? OptionalLong.empty()
                : OptionalLong.of(Math.round((sorted.get((n - 1) / 2) + sorted.get(n / 2)) / 2));
    }

    @Override
    public void close() {
        try {
            out.close();
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }
}
