// SPDX-License-Identifier: Apache-2.0
package io.llmc.evaluation.tasks;

import com.google.errorprone.annotations.MustBeClosed;
import io.llmc.backend.Backend;
import io.llmc.evaluation.Continuation;
import io.llmc.evaluation.Likelihood;
import io.llmc.evaluation.Likelihoods;
import io.llmc.evaluation.tasks.Question.Request;
import io.llmc.formats.UserException;
import io.llmc.model.arch.Models;
import io.llmc.pipeline.Progress;
import io.llmc.tokenizer.Tokenizer;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;

/// One model that takes all tasks: what it is asked in its own tokenizer's ids, and its answers.
final class Candidate implements AutoCloseable {
    /// @param task that they belong to
    /// @param keys of each item
    /// @param ends of each item's continuations, among all
    /// @param cut of them lost ids
    private record Asked(Task task, List<Key> keys, int[] ends, int cut) {}

    private final Likelihoods model;
    private final List<Asked> asked = new ArrayList<>();
    private boolean closed;

    @MustBeClosed
    @SuppressWarnings("MustBeClosed") // closed by close()
    Candidate(Models models, Path directory, Backend backend, Progress progress) {
        this.model = new Likelihoods(models, directory, backend, progress);
    }

    /// Writes and encodes every item.
    ///
    /// @param longest ids that the model sees at once; 0 for all its positions
    /// @param cap bytes outside the Java heap at most
    void prepare(List<Task> tasks, int longest, long cap) {
        int positions = model.spec().maxPositions();
        if (longest > positions) {
            throw new UserException(
                    "{maxLength} is %,d, but %s has %,d positions"
                            .formatted(longest, model.checkpoint().directory(), positions),
                    "");
        }
        List<Continuation> all = new ArrayList<>();
        try (Tokenizer tokenizer = Tokenizer.open(model.checkpoint())) {
            Encoder encoder =
                    new Encoder(
                            tokenizer,
                            PrefixToken.of(model.checkpoint(), tokenizer),
                            longest == 0 ? positions : longest);
            for (Task task : tasks) {
                asked.add(ask(task, encoder, all));
            }
        }
        model.prepare(all, cap);
    }

    private static Asked ask(Task task, Encoder encoder, List<Continuation> all) {
        Questions questions = task.questions();
        List<Key> keys = new ArrayList<>();
        int[] ends = new int[task.items().size()];
        int from = all.size();
        for (Doc item : task.items()) {
            Question question = questions.of(item);
            for (Request request : question.requests()) {
                all.addAll(
                        question.key() instanceof Key.Document
                                ? encoder.rolling(request.continuation(), item)
                                : List.of(encoder.pair(request, item)));
            }
            ends[keys.size()] = all.size();
            keys.add(question.key());
        }
        int cut = (int) all.subList(from, all.size()).stream().filter(c -> c.cut() > 0).count();
        return new Asked(task, keys, ends, cut);
    }

    long bytes() {
        return model.bytes();
    }

    int steps() {
        return model.steps();
    }

    int cut(int task) {
        return asked.get(task).cut;
    }

    /// Of each task and each of its metrics.
    List<List<Scores>> run() {
        List<Likelihood> answers = Arrays.asList(model.run());
        List<List<Scores>> scores = new ArrayList<>();
        int from = 0;
        for (Asked one : asked) {
            List<List<Likelihood>> byItem = new ArrayList<>();
            for (int end : one.ends) {
                byItem.add(answers.subList(from, end));
                from = end;
            }
            scores.add(
                    one.task.spec().metrics().stream()
                            .map(metric -> Scores.of(metric, one.keys, byItem))
                            .toList());
        }
        return scores;
    }

    /// May be called twice.
    @Override
    public void close() {
        if (!closed) {
            closed = true;
            model.close();
        }
    }
}
