// SPDX-License-Identifier: Apache-2.0
package io.llmc.gpu;

import io.llmc.backend.CompressedOp;
import io.llmc.backend.SparseOp;
import io.llmc.gpu.KeySource.Sequence;
import io.llmc.gpu.driver.Gpu;
import io.llmc.gpu.driver.Grid;
import io.llmc.tensor.Tensor;
import java.util.ArrayList;
import java.util.List;
import java.util.function.ToIntFunction;

/// The keys of a sequence that count most for each query: their scores, and then the largest of
/// these. F32 units limit the first, `2 * heads * dim` operations a query and key; the second reads
/// scores while they are in the cache, since queries come in such portions.
final class ChoiceKernels {
    private static final int THREADS = 256;
    private static final int MOST_THREADS = 1024;

    /// Keys of a block of scores, and its queries at most.
    private static final int TILE = 64;

    private static final int QUERIES = 16;

    /// Numbers of a portion, of which a part is scores: 48 MiB, about what the cache of an H100 or
    /// an A100 holds.
    private static final long PORTION = 12 << 20;

    private final Gpu gpu;
    private final Kernels kernels;
    private final CompressedKernels pooling;

    ChoiceKernels(Gpu gpu, CompressedKernels pooling) {
        this.gpu = gpu;
        this.pooling = pooling;
        kernels = new Kernels(gpu, "choices");
    }

    /// How scores become numbers of keys.
    ///
    /// @param rate a key lies at the last of so many tokens
    /// @param per tokens that make a key to be seen
    /// @param size scores of what is chosen together
    /// @param written keys of that
    /// @param tail the keys behind the last whole one are written, too
    /// @param beyond equal ones are chosen as if what a query does not see were there, too
    private record Units(
            int rate, int per, int size, int written, int local, boolean tail, boolean beyond) {
        /// Of a list in memory: scores, and two numbers for each unit of the sequence (`stride_of`
        /// in choices.cu).
        long stride(Sequence s) {
            long pitch = Math.ceilDiv(s.keys() / per, 4) * 4L;
            long units = Math.ceilDiv(s.all(), Math.max(per, written));
            return Math.ceilDiv(pitch + 2 * units, 4) * 4;
        }
    }

    void choose(SparseOp.Choose op) {
        SparseOp.Choice choice = op.choice();
        List<Sequence> sequences = KeySource.sequences(op.keys());
        var scoring =
                new Scoring(
                        op.out(),
                        op.queries(),
                        op.weights(),
                        op.heads(),
                        op.lists(),
                        choice.most());
        int block = choice.block();
        if (!choice.pooled()) {
            var units = new Units(1, 1, block, block, choice.local(), false, true);
            choose(scoring, units, KeySource.packed(op.keys(), 1), sequences);
            return;
        }
        long rows = sequences.stream().mapToLong(s -> s.keys() / block).sum();
        try (Gpu.Scratch pooled = gpu.scratch(Math.max(4, 4 * rows * op.dim()))) {
            List<Sequence> made = new ArrayList<>();
            long row = 0;
            for (Sequence s : sequences) {
                made.add(s.at(row * op.dim()));
                row += s.keys() / block;
            }
            pooling.pool(pooled, op.keys(), op.places(), op.dim(), made);
            choose(
                    scoring,
                    new Units(1, block, 1, block, 0, true, true),
                    KeySource.packed(pooled, op.dim()),
                    made.stream().map(s -> s.ofRows(s.part() / op.dim())).toList());
        }
    }

    void choose(CompressedOp.ChooseEntries op) {
        int most = Math.toIntExact(op.out().cols());
        choose(
                new Scoring(op.out(), op.queries(), op.weights(), op.heads(), 1, most),
                new Units(op.rate(), op.rate(), 1, 1, 0, false, false),
                KeySource.packed(op.entries(), 1),
                KeySource.sequences(op.entries()));
    }

    /// @param weights of heads; null where each has a list
    /// @param lists of a query
    /// @param most of what is chosen
    private record Scoring(
            Tensor out, Tensor queries, Tensor weights, int heads, int lists, int most) {
        int dim() {
            return Math.toIntExact(queries.cols() / heads);
        }
    }

    private void choose(Scoring scoring, Units units, byte[] keys, List<Sequence> sequences) {
        List<Sequence> portion = new ArrayList<>();
        long scores = 0;
        for (Sequence s : sequences) {
            long row = units.stride(s) * scoring.lists();
            int each = (int) Math.clamp(PORTION / row, 1, s.length());
            for (int from = 0; from < s.length(); from += each) {
                Sequence some = s.queries(from, Math.min(s.length(), from + each));
                long more = units.stride(some) * scoring.lists() * some.length();
                if (portion.size() == KeySource.SEQUENCES
                        || !portion.isEmpty() && scores + more > PORTION) {
                    launch(scoring, units, keys, portion, scores);
                    portion.clear();
                    scores = 0;
                }
                portion.add(some.at(scores));
                scores += more;
            }
        }
        launch(scoring, units, keys, portion, scores);
    }

    private void launch(
            Scoring scoring, Units units, byte[] keys, List<Sequence> portion, long count) {
        int heads = scoring.heads();
        int padded = Math.ceilDiv(heads, 4) * 4;
        int each = Math.clamp(4 * TILE / padded, 1, QUERIES);
        int most = most(portion, s -> s.keys() / units.per());
        byte[] packed = KeySource.packed(portion);
        try (Gpu.Scratch scores = gpu.scratch(Math.max(4, 4 * count))) {
            kernels.launch(
                    "choose_scores",
                    Grid.blocks(
                            Math.ceilDiv(most, TILE),
                            most(portion, s -> Math.ceilDiv(s.length(), each)),
                            portion.size(),
                            THREADS),
                    scores,
                    scoring.queries(),
                    keys,
                    scoring.weights(),
                    heads,
                    padded,
                    scoring.dim(),
                    units.rate(),
                    units.per(),
                    units.written(),
                    each,
                    packed);
            kernels.launch(
                    "choose_best",
                    Grid.blocks(
                            (long) most(portion, Sequence::length) * scoring.lists(),
                            1,
                            portion.size(),
                            most > MOST_THREADS * 4 ? MOST_THREADS : THREADS),
                    scoring.out(),
                    scores,
                    scoring.lists(),
                    units.per(),
                    units.size(),
                    units.written(),
                    scoring.most(),
                    units.local(),
                    Math.toIntExact(scoring.out().cols()),
                    units.tail() ? 1 : 0,
                    units.beyond() ? 1 : 0,
                    packed);
        }
    }

    private static int most(List<Sequence> portion, ToIntFunction<Sequence> of) {
        return portion.stream().mapToInt(of).max().orElse(0);
    }
}
