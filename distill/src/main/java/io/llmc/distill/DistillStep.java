// SPDX-License-Identifier: Apache-2.0
package io.llmc.distill;

import io.llmc.formats.Checkpoint;
import io.llmc.formats.UserException;
import io.llmc.model.arch.Architectures;
import io.llmc.pipeline.OutputDirectory;
import io.llmc.pipeline.Provenance;
import io.llmc.pipeline.Work;
import io.llmc.tokenizer.TextFiles;
import io.llmc.tokenizer.Tokenizer;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.SequencedMap;

/// A student learns the next-token predictions of its teacher.
///
///     - distill: {teacher: DIR, data: train.txt, order: shuffled, steps: 500, batch: 8, length: 256, lr: 3e-4,
///                 warmup: 20, schedule: cosine, lrEnd: 0.1, loss: {kl: 1, temperature: 1},
///                 optimizer: adamw, weightDecay: 0, clip: 1, accumulate: 1, train: [], seed: 0, holdout: 8, every: 50,
///                 patience: 0, saveEvery: 50, checkpointBlocks: false}
///
/// `mix: ["a.txt:3", "b.jsonl:1"]` stands in the place of `data` where there are several files.
public record DistillStep(DistillSpec spec) implements Work {
    public static final Work.Factory FACTORY =
            new Work.Factory(
                    "distill",
                    "a student learns its teacher's predictions",
                    """
                    model: testdata/tale-llama
                    output: out
                    steps:
                      - distill:
                          teacher: testdata/tale-llama
                          data: testdata/tale-llama/calibration.txt
                          steps: 20
                          length: 128
                    """,
                    o -> new DistillStep(DistillSpec.read(o)));

    @Override
    public String name() {
        return "distill";
    }

    @Override
    public void check(Path model) {
        for (DistillSpec.Part part : spec.data()) {
            if (!Files.isRegularFile(part.file())) {
                throw new UserException(
                        part.file() + ": no such file",
                        "--data and --mix name texts: .txt or .jsonl");
            }
        }
        try (Checkpoint teacher = Checkpoint.open(spec.teacher())) {
            Architectures.specOf(teacher);
        }
    }

    @Override
    public Result run(Scope scope) {
        OutputDirectory directory = new OutputDirectory(scope.output(), scope.force());
        directory.requireFree();
        try (Checkpoint student = Checkpoint.open(scope.model());
                Checkpoint teacher = Checkpoint.open(spec.teacher())) {
            refuseQuantized(student);
            List<int[]> ids = ids(student, teacher);
            requireVocabulary(student, teacher);
            requirePositions(student);
            requirePositions(teacher);
            Batches batches = Batches.of(ids, spec);
            Student.requireMatches(student, spec);
            directory.prepare(key(scope, student, teacher, ids));
            SequencedMap<String, Object> values =
                    run(scope, student, teacher, directory.work(), batches);
            Map<String, String> inputs = hashes(student, teacher);
            Provenance.write(directory.work(), scope.toolVersion(), scope.recipe(), inputs, values);
            directory.copySideFiles(student);
            directory.publish();
            return new Result(scope.output(), values, List.of());
        }
    }

    private SequencedMap<String, Object> run(
            Scope scope, Checkpoint student, Checkpoint teacher, Path work, Batches batches) {
        return spec.blockwise()
                ? new BlockwiseRun(scope, spec, student, teacher, work, batches).run()
                : new DistillRun(scope, spec, student, teacher, work).run(batches);
    }

    private static void refuseQuantized(Checkpoint student) {
        if (student.config().quantization().isPresent()) {
            throw new UserException(
                    student.directory() + " is quantized, and packed weights do not learn",
                    "distill first, then quantize");
        }
    }

    /// The texts in ids that mean the same to both.
    private List<int[]> ids(Checkpoint student, Checkpoint teacher) {
        try (Tokenizer own = Tokenizer.open(student);
                Tokenizer other = Tokenizer.open(teacher)) {
            return spec.data().stream().map(part -> ids(part.file(), own, other)).toList();
        }
    }

    private static int[] ids(Path file, Tokenizer own, Tokenizer other) {
        int[] ids = TextFiles.tokens(file, own);
        int[] theirs = TextFiles.tokens(file, other);
        int at = Arrays.mismatch(ids, theirs);
        if (at >= 0) {
            throw new UserException(
                    "student and teacher have different vocabularies or chat templates: token %,d of %s is %s for the student and %s for the teacher"
                            .formatted(
                                    at,
                                    file,
                                    at < ids.length ? ids[at] : "missing",
                                    at < theirs.length ? theirs[at] : "missing"),
                    "choose a teacher with the student's tokenizer and chat template");
        }
        return ids;
    }

    private static void requireVocabulary(Checkpoint student, Checkpoint teacher) {
        int own = Architectures.specOf(student).vocabulary();
        int other = Architectures.specOf(teacher).vocabulary();
        if (own != other) {
            throw new UserException(
                    "the student predicts %,d tokens and the teacher %,d".formatted(own, other),
                    "choose a teacher with the student's vocabulary");
        }
    }

    private void requirePositions(Checkpoint c) {
        int positions = Architectures.specOf(c).maxPositions();
        if (spec.length() > positions) {
            throw new UserException(
                    "windows of %,d tokens are longer than the %,d positions of %s"
                            .formatted(spec.length(), positions, c.directory()),
                    "lower --length");
        }
    }

    /// Two runs with one key may share their state.
    private static String key(
            Scope scope, Checkpoint student, Checkpoint teacher, List<int[]> ids) {
        StringBuilder text = new StringBuilder(scope.toolVersion());
        text.append(Provenance.essence(scope.recipe()));
        text.append(scope.recipe().steps().size());
        ids.forEach(one -> text.append(Arrays.hashCode(one)));
        for (Checkpoint c : List.of(student, teacher)) {
            for (Path file : c.weightFiles()) {
                try {
                    text.append(file.getFileName())
                            .append(Files.size(file))
                            .append(Files.getLastModifiedTime(file));
                } catch (IOException e) {
                    throw new UncheckedIOException(e);
                }
            }
        }
        return Provenance.hash(text.toString());
    }

    private static Map<String, String> hashes(Checkpoint student, Checkpoint teacher) {
        Map<String, String> hashes = new LinkedHashMap<>();
        for (Path file : student.weightFiles()) {
            hashes.put(file.getFileName().toString(), Provenance.hash(file));
        }
        for (Path file : teacher.weightFiles()) {
            hashes.put("teacher/" + file.getFileName(), Provenance.hash(file));
        }
        return hashes;
    }
}
