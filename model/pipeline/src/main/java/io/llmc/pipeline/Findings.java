// SPDX-License-Identifier: Apache-2.0
package io.llmc.pipeline;

import io.llmc.formats.TensorInfo;
import io.llmc.formats.safetensors.TensorFile;
import io.llmc.formats.safetensors.TensorFileWriter;
import io.llmc.tensor.DType;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.function.Supplier;
import java.util.stream.Stream;

/// What a run has found out before its first block, each in a file of the working directory, so
/// that a run that goes on need not find it out again.
public final class Findings {
    private static final String SUFFIX = ".note";
    private static final String VALUES = "values";

    private final Journal journal;
    private final String prefix;

    /// Beside this journal.
    public Findings(Journal journal) {
        this(journal, "");
    }

    private Findings(Journal journal, String prefix) {
        this.journal = journal;
        this.prefix = prefix;
    }

    /// Those of one pass among several.
    public Findings of(String pass) {
        return new Findings(journal, prefix + pass + "-");
    }

    /// @param name of letters, digits and dashes
    public double[] remember(String name, Supplier<double[]> compute) {
        Path file = journal.directory().resolve(prefix + name + SUFFIX);
        try (TensorFile known = TensorFile.whole(file)) {
            if (known != null) {
                return values(known);
            }
            double[] values = compute.get();
            journal.seal();
            write(file, values);
            return values;
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    private static double[] values(TensorFile known) throws IOException {
        try (Arena memory = Arena.ofConfined()) {
            return known.tensor(VALUES, memory).bytes().toArray(ValueLayout.JAVA_DOUBLE);
        }
    }

    private static void write(Path file, double[] values) throws IOException {
        List<TensorInfo> plan = List.of(TensorInfo.of(VALUES, DType.F64, values.length));
        try (TensorFileWriter out = TensorFileWriter.keep(file, Map.of(), plan)) {
            out.append(MemorySegment.ofArray(values));
            out.finish();
        }
    }

    public void delete() {
        try (Stream<Path> files = Files.list(journal.directory())) {
            for (Path file : files.filter(f -> f.toString().endsWith(SUFFIX)).toList()) {
                Files.delete(file);
            }
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }
}
