// SPDX-License-Identifier: Apache-2.0
package io.llmc.distill;

import com.fasterxml.jackson.core.type.TypeReference;
import com.google.errorprone.annotations.MustBeClosed;
import io.llmc.backend.Backend;
import io.llmc.distill.spec.DistillOptions;
import io.llmc.distill.spec.DistillSpec;
import io.llmc.distill.student.PeftAdapter;
import io.llmc.distill.student.Trainable;
import io.llmc.distill.teacher.CacheHeader;
import io.llmc.distill.teacher.CachedText;
import io.llmc.distill.teacher.TeacherCache;
import io.llmc.distill.training.Batches;
import io.llmc.distill.training.StepMemory;
import io.llmc.distill.training.StepTimes;
import io.llmc.distill.training.TrainState;
import io.llmc.formats.UserException;
import io.llmc.formats.checkpoint.Checkpoint;
import io.llmc.model.Capability;
import io.llmc.model.arch.Architectures;
import io.llmc.pipeline.Estimate;
import io.llmc.pipeline.Finite;
import io.llmc.pipeline.Inputs;
import io.llmc.pipeline.Journal;
import io.llmc.pipeline.OutputDirectory;
import io.llmc.pipeline.Provenance;
import io.llmc.pipeline.Step;
import io.llmc.tokenizer.TextFiles;
import io.llmc.tokenizer.Tokenizer;
import io.llmc.tokenizer.Vocabulary;
import io.llmc.tokenizer.WeightedText;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.SequencedMap;
import java.util.function.Consumer;
import java.util.function.LongSupplier;

/// A student learns the next-token predictions of its teacher.
///
/// `lora: 8, adapter: true` trains adapters and writes them for peft, beside a student that may be
/// packed. `blockwise: true` lets every block learn on its own; `map: [0, 2]` names the teacher's
/// blocks. `teacherCache: DIR` stands in the place of `teacher`, and may of `data`. `mix:
/// ["a.txt:3", "b.jsonl:1"]` stands in the place of `data` where there are several files.
///
/// @param nanos a clock, which decides when a state is saved and nothing else
public record DistillStep(DistillSpec spec, LongSupplier nanos) implements Step {
    public static final Step.Factory FACTORY =
            new Step.Factory(
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
                    DistillOptions.ALL,
                    o -> new DistillStep(DistillSpec.read(o.section("distill")), System::nanoTime));

    private static final TypeReference<SequencedMap<String, Object>> SHOWN =
            new TypeReference<>() {};

    @Override
    public String name() {
        return "distill";
    }

    @Override
    public List<Inputs.Input> inputs() {
        List<Inputs.Input> inputs = new ArrayList<>();
        if (spec.teacher() != null) {
            inputs.add(new Inputs.Input("the teacher", spec.teacher(), true));
        }
        if (spec.teacherCache() != null) {
            inputs.add(new Inputs.Input("the saved teacher", spec.teacherCache(), true));
        }
        spec.data().forEach(p -> inputs.add(new Inputs.Input("the text", p.file(), true)));
        return inputs;
    }

    @Override
    public void check(Context context) {
        for (WeightedText part : spec.data()) {
            TextFiles.requireFile(part.file(), "{data} and {mix} name texts: .txt or .jsonl");
        }
        try (Checkpoint student = context.models().open(context.model(), _ -> {});
                Checkpoint teacher = openTeacher(context, _ -> {});
                TeacherCache cache = openCache()) {
            requireTrainable(student);
            if (cache != null) {
                spec.matching(cache.header());
            }
        }
    }

    @Override
    public Plan plan(Context context) {
        check(context);
        long bytes = memory(context);
        return Plan.of(bytes, () -> estimate(context), () -> run(context));
    }

    /// Empty where blocks learn on their own.
    private Optional<Estimate> estimate(Context context) {
        if (spec.blockwise()) {
            return Optional.empty();
        }
        try (Checkpoint student = context.models().open(context.model(), _ -> {});
                Checkpoint teacher = openTeacher(context, _ -> {});
                TeacherCache cache = openCache()) {
            long start = System.nanoTime();
            CacheHeader header = cache == null ? null : cache.header();
            DistillSpec whole = cache == null ? spec : spec.matching(header);
            Backend backend = context.backend();
            Batches batches = batches(student, teacher, cache, whole);
            double read = (System.nanoTime() - start) / 1e9;
            StepMemory memory =
                    StepMemory.of(student, teacher, header, whole, backend, context.memory());
            Lesson lesson = new Lesson(backend, whole, student, teacher, cache);
            Estimate worked = new DistillRehearsal(lesson, memory).estimate(batches);
            return Optional.of(Estimate.of(read).plus(worked));
        }
    }

    private Batches batches(
            Checkpoint student, Checkpoint teacher, TeacherCache cache, DistillSpec whole) {
        return Batches.of(cache == null ? ids(student, teacher) : cached(student, cache), whole);
    }

    private long memory(Context context) {
        Backend backend = context.backend();
        long cap = context.memory();
        try (Checkpoint student = context.models().open(context.model(), _ -> {});
                Checkpoint teacher = openTeacher(context, _ -> {});
                TeacherCache cache = openCache()) {
            if (spec.blockwise()) {
                return BlockwiseMemory.of(student, teacher, spec, backend, cap).bytes();
            }
            CacheHeader header = cache == null ? null : cache.header();
            DistillSpec whole = cache == null ? spec : spec.matching(header);
            return StepMemory.of(student, teacher, header, whole, backend, cap).bytes();
        }
    }

    /// Null where a cache or nobody is asked.
    @MustBeClosed
    private Checkpoint openTeacher(Context context, Consumer<String> notes) {
        return spec.teacher() == null ? null : context.models().open(spec.teacher(), notes);
    }

    @MustBeClosed
    private TeacherCache openCache() {
        return spec.teacherCache() == null ? null : TeacherCache.open(spec.teacherCache());
    }

    private Outcome run(Context scope) {
        OutputDirectory directory = scope.directory();
        try (Checkpoint student = scope.models().open(scope.model(), scope.progress()::note);
                Checkpoint teacher = openTeacher(scope, scope.progress()::note);
                TeacherCache cache = openCache()) {
            DistillSpec whole = cache == null ? spec : spec.matching(cache.header());
            return new DistillStep(whole, nanos).run(scope, directory, student, teacher, cache);
        }
    }

    /// @param teacher null where a cache or nobody is asked
    /// @param cache null for none
    private Outcome run(
            Context scope,
            OutputDirectory directory,
            Checkpoint student,
            Checkpoint teacher,
            TeacherCache cache) {
        requireTrainable(student);
        long bytes = student.names().stream().mapToLong(n -> student.info(n).byteSize()).sum();
        Journal journal = scope.begin(directory, this, standsAlone() ? 0 : bytes);
        SequencedMap<String, Object> shown = journal.result(SHOWN).orElse(null);
        if (shown == null) {
            try {
                shown = learn(scope, directory, journal, student, teacher, cache);
            } catch (RuntimeException | Error e) {
                directory.abandon(journal);
                throw e;
            }
            directory.complete(journal, shown);
        }
        TrainState.delete(journal.directory());
        directory.publish(journal);
        return new Written(name(), scope.output(), shown);
    }

    private SequencedMap<String, Object> learn(
            Context scope,
            OutputDirectory directory,
            Journal journal,
            Checkpoint student,
            Checkpoint teacher,
            TeacherCache cache) {
        Batches batches = batches(student, teacher, cache, spec);
        requirePositions(student);
        if (teacher != null) {
            sayPadding(scope, student, Architectures.specOf(teacher).vocabulary());
            requirePositions(teacher);
        }
        if (cache != null) {
            sayPadding(scope, student, cache.header().vocabulary());
        }
        Trainable.requireSome(student, spec);
        Finite.requireAll(student, scope.progress());
        if (teacher != null) {
            Finite.requireAll(teacher, scope.progress());
        }
        Path work = directory.work();
        SequencedMap<String, Object> shown;
        try (StepTimes times = StepTimes.open(work, spec.saveMinutes(), nanos)) {
            SequencedMap<String, Object> values =
                    spec.blockwise()
                            ? new BlockwiseRun(
                                            scope, spec, student, teacher, journal, batches, times)
                                    .run()
                            : new DistillRun(scope, spec, student, teacher, cache, journal, times)
                                    .run(batches);
            Provenance.write(
                    work,
                    scope.toolVersion(),
                    scope.recipe(),
                    hashes(scope.inputs(), student, inputs(student, teacher, cache)),
                    values);
            shown = new LinkedHashMap<>(values);
            times.median().ifPresent(speed -> shown.put("tokens_per_second", speed));
        }
        directory.copySideFiles(student);
        return shown;
    }

    private List<int[]> cached(Checkpoint student, TeacherCache cache) {
        Path data = spec.data().isEmpty() ? null : spec.data().getFirst().file();
        return List.of(CachedText.ids(student, cache, data));
    }

    private void requireTrainable(Checkpoint student) {
        Capability.requireGradients(Architectures.specOf(student));
        Trainable.requireUnpacked(student, spec);
        if (standsAlone()) {
            new PeftAdapter(student, spec.lora(), student.directory()).requireLoadable();
        }
    }

    /// An adapter goes with its student, and is no model.
    @Override
    public boolean standsAlone() {
        return spec.lora() != null && !spec.lora().merges();
    }

    /// The texts in ids that mean the same to both.
    private List<int[]> ids(Checkpoint student, Checkpoint teacher) {
        if (teacher == null) {
            try (Tokenizer own = Tokenizer.open(student)) {
                return spec.data().stream().map(p -> TextFiles.tokens(p.file(), own)).toList();
            }
        }
        try (Tokenizer own = Tokenizer.open(student);
                Tokenizer other = Tokenizer.open(teacher)) {
            requireSameVocabulary(student, teacher);
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

    private static void requireSameVocabulary(Checkpoint student, Checkpoint teacher) {
        Path own = student.directory().resolve("tokenizer.json");
        Path other = teacher.directory().resolve("tokenizer.json");
        Vocabulary.requireSame(own, other);
        Vocabulary.common(
                own,
                Architectures.specOf(student).vocabulary(),
                other,
                Architectures.specOf(teacher).vocabulary());
    }

    /// @param theirs ids that the teacher predicts
    private static void sayPadding(Context scope, Checkpoint student, int theirs) {
        int own = Architectures.specOf(student).vocabulary();
        if (own != theirs) {
            scope.progress().note(Vocabulary.note(own, theirs));
        }
    }

    private void requirePositions(Checkpoint c) {
        Architectures.specOf(c).requirePositions(spec.length(), c.directory(), "lower {length}");
    }

    private static List<Path> inputs(Checkpoint student, Checkpoint teacher, TeacherCache cache) {
        List<Path> files = new ArrayList<>(student.weightFiles());
        if (teacher != null) {
            files.addAll(teacher.weightFiles());
        }
        if (cache != null) {
            files.add(cache.directory().resolve(CacheHeader.FILE));
            files.add(cache.directory().resolve(CacheHeader.LOGITS));
        }
        return files;
    }

    private static Map<String, String> hashes(Inputs read, Checkpoint student, List<Path> inputs) {
        Map<String, String> hashes = new LinkedHashMap<>();
        for (Path file : inputs) {
            boolean own = student.weightFiles().contains(file);
            hashes.put((own ? "" : "teacher/") + file.getFileName(), read.hash(file));
        }
        return hashes;
    }
}
