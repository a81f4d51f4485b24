// SPDX-License-Identifier: Apache-2.0
package io.llmc.evaluation.tasks;

import com.google.errorprone.annotations.MustBeClosed;
import io.llmc.backend.Backend;
import io.llmc.evaluation.tasks.TaskResult.Measure;
import io.llmc.model.arch.Models;
import io.llmc.pipeline.Progress;
import io.llmc.pipeline.Step;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;

/// Tasks that are ready to be put to a model, and to its original. The models take them one after
/// the other, each in the ids of its own tokenizer.
final class TasksJob implements Step.Plan {
    private final Path model;
    private final Path against;
    private final List<Task> tasks;
    private final Progress progress;

    /// The model, then the original if there is one.
    private final List<Candidate> candidates = new ArrayList<>();

    /// Writes and encodes every question.
    ///
    /// @param against the original; null for none
    /// @param longest ids that a model sees at once; 0 for all its positions
    /// @param cap bytes outside the Java heap at most
    @MustBeClosed
    @SuppressWarnings("MustBeClosed") // closed by close()
    TasksJob(
            Models models,
            Path against,
            List<Task> tasks,
            int longest,
            Backend backend,
            long cap,
            Progress progress) {
        this.model = models.main();
        this.against = against;
        this.tasks = tasks;
        this.progress = progress;
        try {
            for (Path one : against == null ? List.of(model) : List.of(model, against)) {
                Candidate candidate = new Candidate(models, one, backend, progress);
                candidates.add(candidate);
                candidate.prepare(tasks, longest, cap);
            }
        } catch (RuntimeException e) {
            close();
            throw e;
        }
    }

    @Override
    public long bytes() {
        return candidates.stream().mapToLong(Candidate::bytes).max().orElseThrow();
    }

    @Override
    public TasksResult run() {
        progress.begin("tasks", candidates.stream().mapToLong(Candidate::steps).sum());
        List<List<List<Scores>>> scores = new ArrayList<>();
        for (Candidate candidate : candidates) {
            scores.add(candidate.run());
            candidate.close();
        }
        progress.end();
        List<TaskResult> results = new ArrayList<>();
        for (int t = 0; t < tasks.size(); t++) {
            results.add(result(t, scores));
        }
        return new TasksResult(model, against, results);
    }

    private TaskResult result(int t, List<List<List<Scores>>> scores) {
        List<Measure> measures = new ArrayList<>();
        for (int m = 0; m < scores.getFirst().get(t).size(); m++) {
            Scores own = scores.getFirst().get(t).get(m);
            Scores original = against == null ? null : scores.get(1).get(t).get(m);
            measures.add(
                    new Measure(
                            own.metric(),
                            own.figure(),
                            original == null ? null : original.figure(),
                            original == null ? null : own.changeFrom(original)));
        }
        Task task = tasks.get(t);
        return new TaskResult(
                task.name(),
                task.items().size(),
                task.spec().shots().count(),
                candidates.getFirst().cut(t),
                measures);
    }

    @Override
    public void close() {
        candidates.forEach(Candidate::close);
    }
}
