// SPDX-License-Identifier: Apache-2.0
package io.llmc.evaluation;

import io.llmc.evaluation.SharedInputs.Input;
import io.llmc.tokenizer.Windows;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;

/// Inputs that go through a model together, as windows of the longest one's length, and what is
/// asked of their rows.
///
/// @param windows each input, filled up at its end, which no row that counts sees
/// @param questions where each continuation is answered
/// @param targets of the rows that count, several lists of them: continuations that share rows are
///   in different ones
record LikelihoodBatch(ScoredWindows windows, List<Question> questions, int[][] targets) {
    /// @param asked index of the continuation
    /// @param layer the list of targets that holds its own
    /// @param row of its first target, among the rows of the batch that count
    record Question(int asked, int layer, int row) {}

    static LikelihoodBatch of(List<Input> inputs, List<Continuation> all) {
        int length = inputs.stream().mapToInt(Input::length).max().orElseThrow();
        int[] ids = new int[Math.multiplyExact(inputs.size(), length)];
        int[] first = new int[inputs.size()];
        int[] end = new int[inputs.size()];
        for (int w = 0; w < inputs.size(); w++) {
            Input input = inputs.get(w);
            System.arraycopy(input.ids(), 0, ids, w * length, input.length());
            first[w] =
                    input.asked().stream().mapToInt(a -> all.get(a).firstRow()).min().orElseThrow();
            end[w] = input.length();
        }
        ScoredWindows windows = new ScoredWindows(Windows.of(ids, length), first, end);
        List<Question> questions = questions(inputs, all, first);
        return new LikelihoodBatch(windows, questions, targets(questions, all, windows.rows()));
    }

    private static List<Question> questions(
            List<Input> inputs, List<Continuation> all, int[] first) {
        List<Question> questions = new ArrayList<>();
        int row = 0;
        for (int w = 0; w < first.length; w++) {
            List<Integer> asked = inputs.get(w).asked();
            for (int layer = 0; layer < asked.size(); layer++) {
                int at = row + all.get(asked.get(layer)).firstRow() - first[w];
                questions.add(new Question(asked.get(layer), layer, at));
            }
            row += inputs.get(w).length() - first[w];
        }
        return questions;
    }

    private static int[][] targets(List<Question> questions, List<Continuation> all, int rows) {
        int layers = 1 + questions.stream().mapToInt(Question::layer).max().orElseThrow();
        int[][] targets = new int[layers][rows];
        for (Question q : questions) {
            int[] own = all.get(q.asked).targets();
            System.arraycopy(own, 0, targets[q.layer], q.row, own.length);
        }
        return targets;
    }

    int count() {
        return windows.count();
    }

    int length() {
        return windows.windows().length();
    }

    int rows() {
        return targets[0].length;
    }

    /// @param losses of the targets, in their lists
    /// @param best the likeliest token of every row
    /// @param out by the index of the continuation
    void answer(float[][] losses, int[] best, List<Continuation> all, Likelihood[] out) {
        for (Question q : questions) {
            int count = all.get(q.asked).targets().length;
            double sum = 0;
            for (int i = q.row; i < q.row + count; i++) {
                sum -= losses[q.layer][i];
            }
            boolean greedy =
                    Arrays.equals(
                            best, q.row, q.row + count, targets[q.layer], q.row, q.row + count);
            out[q.asked] = new Likelihood(sum, greedy);
        }
    }
}
