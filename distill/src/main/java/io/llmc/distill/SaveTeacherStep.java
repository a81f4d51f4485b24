// SPDX-License-Identifier: Apache-2.0
package io.llmc.distill;

import com.fasterxml.jackson.core.type.TypeReference;
import io.llmc.backend.Backend;
import io.llmc.backend.LossOp;
import io.llmc.backend.TensorArena;
import io.llmc.distill.spec.DistillOptions;
import io.llmc.distill.teacher.CacheHeader;
import io.llmc.distill.teacher.CacheRow;
import io.llmc.distill.teacher.CacheWriter;
import io.llmc.distill.teacher.TeacherCache;
import io.llmc.distill.teacher.TeacherMemory;
import io.llmc.formats.UserException;
import io.llmc.formats.checkpoint.Checkpoint;
import io.llmc.model.ModelSpec;
import io.llmc.model.arch.Architectures;
import io.llmc.model.language.Head;
import io.llmc.model.language.ResidentModel;
import io.llmc.pipeline.ByteSize;
import io.llmc.pipeline.Finite;
import io.llmc.pipeline.Inputs;
import io.llmc.pipeline.Journal;
import io.llmc.pipeline.Option;
import io.llmc.pipeline.Options;
import io.llmc.pipeline.OutputDirectory;
import io.llmc.pipeline.Provenance;
import io.llmc.pipeline.Step;
import io.llmc.pipeline.pass.StreamMemory;
import io.llmc.tensor.DType;
import io.llmc.tensor.Shape;
import io.llmc.tensor.Tensor;
import io.llmc.tokenizer.TextFiles;
import io.llmc.tokenizer.Tokenizer;
import io.llmc.tokenizer.Windows;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.SequencedMap;

/// A teacher is asked once about a text; its answers are kept for any number of students.
///
/// @param data text: .txt, or .jsonl with "text"
/// @param topK log-probabilities kept of each prediction
/// @param length tokens of a window
/// @param temperature of the softmax that they are taken from
public record SaveTeacherStep(Path data, int topK, int length, float temperature) implements Step {
    private static final Option<Path> DATA =
            Option.path("data", "FILE", "Text: .txt, or .jsonl with \"text\" or \"messages\".");

    private static final Option<Integer> TOP_K =
            DistillOptions.count("topK", 64, "Predictions to keep of each token (default: %s).");

    private static final Option<Integer> LENGTH =
            DistillOptions.count("length", 256, "Tokens of a window (default: %s).");

    private static final Option<Double> TEMPERATURE =
            DistillOptions.positive(
                    "temperature", 1, "Of the softmax that they are taken from (default: %s).");

    public static final Step.Factory FACTORY =
            new Step.Factory(
                    "save-teacher",
                    "keeps a teacher's predictions for distill",
                    """
                    model: testdata/tale-llama
                    output: out
                    steps:
                      - save-teacher:
                          data: testdata/tale-llama/calibration.txt
                          topK: 64
                          length: 128
                    """,
                    List.of(DATA, TOP_K, LENGTH, TEMPERATURE),
                    SaveTeacherStep::read);

    /// Tokens that the teacher sees at a time, about.
    private static final int ROWS = 2048;

    /// Bytes of logits that exist at once, about.
    private static final long LOGITS = 48L << 20;

    private static SaveTeacherStep read(Options item) {
        Options o = item.section("saveTeacher");
        Path data = DATA.required(o);
        return new SaveTeacherStep(
                data, TOP_K.read(o), LENGTH.read(o), TEMPERATURE.read(o).floatValue());
    }

    @Override
    public String name() {
        return "save-teacher";
    }

    @Override
    public List<Inputs.Input> inputs() {
        return List.of(new Inputs.Input("the text", data, true));
    }

    @Override
    public void check(Context context) {
        TextFiles.requireFile(data, "{data} names a text: .txt or .jsonl");
        try (Checkpoint teacher = context.models().open(context.model(), _ -> {})) {
            requireFits(teacher);
        }
    }

    private void requireFits(Checkpoint teacher) {
        ModelSpec spec = Architectures.specOf(teacher);
        spec.requirePositions(length, teacher.directory(), "lower {length}");
        if (topK > spec.vocabulary()) {
            throw new UserException(
                    "the top %,d of %,d tokens are asked for".formatted(topK, spec.vocabulary()),
                    "lower {topK}");
        }
        if (new CacheRow(spec.vocabulary(), topK).bytes() > CacheHeader.MAX_WINDOW / length) {
            throw new UserException(
                    "a window of %,d tokens with %,d predictions each takes more than 1 GiB"
                            .formatted(length, topK),
                    "lower {topK} or {length}");
        }
    }

    /// Windows that the teacher sees at a time; what it says does not depend on it.
    private int batch() {
        return Math.max(1, ROWS / length);
    }

    /// Rows whose logits exist at once.
    private static int pieceRows(ModelSpec spec) {
        return Head.rows(LOGITS, spec.vocabulary(), 512);
    }

    private long arenaBytes(Checkpoint teacher, int rows) {
        ModelSpec spec = Architectures.specOf(teacher);
        long logits = 4L * pieceRows(spec) * spec.vocabulary() + (1 << 16);
        return TeacherMemory.pass(teacher, rows, length)
                + 3 * logits
                + 8L * rows * topK
                + (1 << 16);
    }

    @Override
    public Plan plan(Context context) {
        check(context);
        long bytes = memory(context);
        return Plan.of(bytes, () -> run(context));
    }

    private long memory(Context context) {
        Backend backend = context.backend();
        long cap = context.memory();
        try (Checkpoint teacher = context.models().open(context.model(), _ -> {})) {
            int rows = batch() * length;
            long bytes =
                    ByteSize.roundUp(
                            TeacherMemory.resident(teacher, backend, length)
                                    + StreamMemory.kernels(
                                            Architectures.specOf(teacher), backend, rows)
                                    + arenaBytes(teacher, rows)
                                    + 4L * rows * topK
                                    + (1 << 16));
            ByteSize.requireWithin(cap, bytes, "");
            return bytes;
        }
    }

    private Outcome run(Context scope) {
        if (!scope.recipe().steps().getLast().equals(this)) {
            throw new UserException(
                    "save-teacher writes no model, and a step follows it",
                    "make it the last step of a recipe of its own");
        }
        OutputDirectory directory = scope.directory();
        try (Checkpoint teacher = scope.models().open(scope.model(), scope.progress()::note)) {
            requireFits(teacher);
            int[] ids = ids(teacher);
            CacheRow row = new CacheRow(Architectures.specOf(teacher).vocabulary(), topK);
            Journal journal =
                    scope.begin(directory, this, ids.length * (Integer.BYTES + row.bytes()));
            SequencedMap<String, Object> values =
                    journal.result(new TypeReference<SequencedMap<String, Object>>() {})
                            .orElse(null);
            if (values == null) {
                try {
                    values = write(scope, teacher, ids, row, directory, journal);
                } catch (IOException | RuntimeException | Error e) {
                    directory.abandon(journal);
                    throw e;
                }
                directory.complete(journal, values);
            }
            directory.publish(journal);
            return new Written(name(), scope.output(), values);
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    /// Whole windows.
    private int[] ids(Checkpoint teacher) {
        try (Tokenizer tokenizer = Tokenizer.open(teacher)) {
            int[] ids = TextFiles.tokens(data, tokenizer);
            if (ids.length < length) {
                throw new UserException(
                        "%s has %,d tokens, less than a window of %,d"
                                .formatted(data, ids.length, length),
                        "give a longer text or lower {length}");
            }
            return Arrays.copyOf(ids, ids.length / length * length);
        }
    }

    private SequencedMap<String, Object> write(
            Context scope,
            Checkpoint teacher,
            int[] ids,
            CacheRow row,
            OutputDirectory directory,
            Journal journal)
            throws IOException {
        Finite.requireAll(teacher, scope.progress());
        try (CacheWriter writer = new CacheWriter(directory.work(), row, ids, length)) {
            ask(scope, teacher, ids, writer, journal);
            writer.finish();
        }
        Map<String, String> hashes = new LinkedHashMap<>();
        for (Path file : teacher.weightFiles()) {
            hashes.put(file.getFileName().toString(), scope.inputs().hash(file));
        }
        CacheHeader header =
                CacheHeader.of(
                        scope.toolVersion(),
                        row,
                        length,
                        ids.length / length,
                        temperature,
                        CacheWriter.hash(ids, ids.length),
                        hashes);
        header.write(directory.work());
        SequencedMap<String, Object> values = new LinkedHashMap<>();
        values.put("windows", header.windows());
        values.put("tokens", header.tokens());
        values.put("bytes_per_token", header.bytesPerToken());
        try (TeacherCache written = TeacherCache.open(directory.work())) {
            values.put("top_k_mass", written.verify());
        }
        directory.copySideFiles(teacher);
        Provenance.write(directory.work(), scope.toolVersion(), scope.recipe(), hashes, values);
        return values;
    }

    private void ask(
            Context scope, Checkpoint checkpoint, int[] ids, CacheWriter writer, Journal journal)
            throws IOException {
        int windows = ids.length / length;
        int batch = Math.min(batch(), windows);
        // The batches of a run that goes on are those of one that was never interrupted.
        writer.keep(writer.done() / batch * batch);
        if (writer.done() > 0) {
            scope.progress().note("continuing after window " + writer.done());
        }
        scope.progress().begin("asking the teacher", windows);
        scope.progress().advance(writer.done(), "");
        Backend backend = scope.backend();
        int piece = pieceRows(Architectures.specOf(checkpoint));
        int rows = batch * length;
        try (ResidentModel teacher =
                        new ResidentModel(
                                checkpoint, Architectures.specOf(checkpoint), backend, length);
                TensorArena arena = backend.newArena(arenaBytes(checkpoint, rows))) {
            int[] top = new int[Math.multiplyExact(rows, topK)];
            float[] values = new float[top.length];
            while (writer.done() < windows) {
                int from = writer.done();
                int to = Math.min(windows, from + batch);
                int[] some = Arrays.copyOfRange(ids, from * length, to * length);
                ask(backend, teacher, arena, Windows.of(some, length), piece, top, values);
                journal.seal();
                for (int w = from; w < to; w++) {
                    writer.append(top, values, (w - from) * length);
                }
                scope.progress().advance(to - from, "window " + to);
            }
        }
        scope.progress().end();
    }

    private void ask(
            Backend backend,
            ResidentModel teacher,
            TensorArena arena,
            Windows windows,
            int piece,
            int[] top,
            float[] values) {
        try (TensorArena step = arena.scratch();
                Arena host = backend.host().newArena()) {
            Tensor normed = teacher.normed(windows.ids(), step, ResidentModel.Listener.NONE);
            int rows = Math.toIntExact(normed.rows());
            Tensor ids = step.allocate(DType.I32, new Shape(rows, topK));
            Tensor logs = step.allocate(DType.F32, new Shape(rows, topK));
            int vocabulary = teacher.model().spec().vocabulary();
            Head.inPieces(
                    rows,
                    piece,
                    step,
                    (from, to, scratch) -> {
                        Tensor logits =
                                new Head(teacher.model())
                                        .logits(normed.rows(from, to), vocabulary, scratch);
                        backend.run(
                                new LossOp.TopLogProbabilities(
                                        logs.rows(from, to),
                                        ids.rows(from, to),
                                        logits,
                                        temperature));
                    });
            MemorySegment copy = host.allocate(ids.byteSize(), 8);
            backend.download(copy, ids);
            MemorySegment.copy(copy, ValueLayout.JAVA_INT, 0, top, 0, rows * topK);
            backend.download(copy, logs);
            MemorySegment.copy(copy, ValueLayout.JAVA_FLOAT, 0, values, 0, rows * topK);
        }
    }
}
