// SPDX-License-Identifier: Apache-2.0
package io.llmc.backend;

import static io.llmc.backend.Shapes.f32;
import static io.llmc.backend.Shapes.require;

import io.llmc.tensor.Tensor;
import java.util.List;
import java.util.stream.Stream;

/// Attention to keys that a model chooses. The choice has no gradient.
public sealed interface SparseOp extends Op {
    /// The keys, or the values, of all sequences of an operation.
    sealed interface Keys {
        /// Those of whole sequences, whose rows are the operation's.
        ///
        /// @param x F32 `[tokens, heads * width]`
        /// @param length rows of a sequence
        record Whole(Tensor x, int length) implements Keys {}

        /// Those of sequences that go on.
        ///
        /// @param runs without window and chunk
        record Paged(CacheOp.Pages pages, List<CacheOp.Run> runs) implements Keys {}

        /// Whether they are those of so many rows.
        default boolean fit(long rows, int heads, int width) {
            return switch (this) {
                case Whole(Tensor x, int length) ->
                        f32(x)
                                && x.is(rows, (long) heads * width)
                                && length > 0
                                && rows % length == 0;
                case Paged(CacheOp.Pages pages, List<CacheOp.Run> runs) ->
                        pages.width() == width
                                && pages.data().rows() % heads == 0
                                && runs.stream()
                                        .allMatch(r ->
                                                r.fits(pages)
                                                        && r.reach().window() == 0
                                                        && r.reach().chunk() == 0
                                                        && r.row() + r.reach().length() <= rows);
            };
        }

        /// What they lie in.
        default Stream<Tensor> tensors() {
            return switch (this) {
                case Whole(Tensor x, _) -> Stream.of(x);
                case Paged(CacheOp.Pages pages, List<CacheOp.Run> runs) ->
                        Stream.concat(pages.tensors(), runs.stream().map(CacheOp.Run::table));
            };
        }
    }

    /// How many keys are chosen, of those up to a query's own.
    ///
    /// @param most blocks
    /// @param block neighbouring keys that are chosen together, by the best of their scores
    /// @param local blocks that are always among them, counted back from the query's own
    /// @param pooled each whole block has one key, made of its keys, and those behind the last
    ///   whole block are seen besides (GLM 5.3)
    record Choice(int most, int block, int local, boolean pooled) {
        public Choice {
            require(
                    most > 0 && block > 0 && local >= 0 && local <= most && !(pooled && local > 0),
                    "choice",
                    most,
                    block,
                    local,
                    pooled);
        }

        /// Single keys.
        public static Choice of(int most) {
            return new Choice(most, 1, 0, false);
        }

        /// Most keys that a query sees.
        public int keys() {
            return Math.addExact(Math.multiplyExact(most, block), pooled ? block - 1 : 0);
        }
    }

    /// For each row the keys of its sequence that count most: those with the largest `sum_h
    /// weights[t,h] max(0, queries[t,h,:] . keys[s,:])` (DeepSeek V3.2, 2025, arXiv 2512.02556) or,
    /// without weights, for each head those with its largest `queries[t,h,:] . keys[s,:]`.
    ///
    /// @param out F32 `[tokens * lists, choice.keys()]`: their numbers, ascending; -1 where there
    ///   are fewer. Without weights each head of a row has a list
    /// @param queries `[tokens, heads * dim]`
    /// @param keys of one head of `dim`; where they are pooled, of `2 * dim`: each key and what its
    ///   weight in its block is made of, `sum_i softmax_i(keys[i, dim:] + places[i]) keys[i, :dim]`
    /// @param weights `[tokens, heads]`; null for none
    /// @param places `[block, dim]` where keys are pooled; null otherwise
    record Choose(
            Tensor out, Tensor queries, Keys keys, Tensor weights, Tensor places, Choice choice)
            implements SparseOp {
        public Choose {
            int heads =
                    Math.toIntExact(weights == null ? out.rows() / queries.rows() : weights.cols());
            require(
                    heads > 0
                            && out.is(queries.rows() * (weights == null ? heads : 1), choice.keys())
                            && queries.cols() % heads == 0
                            && keys.fit(
                                    queries.rows(),
                                    1,
                                    Math.toIntExact(
                                            queries.cols() / heads * (choice.pooled() ? 2 : 1)))
                            && (weights == null || weights.is(queries.rows(), heads))
                            && (choice.pooled()
                                    ? places.is(choice.block(), queries.cols() / heads)
                                    : places == null)
                            && f32(out, queries)
                            && (weights == null || f32(weights)),
                    "choose",
                    out,
                    queries,
                    keys,
                    weights,
                    places,
                    choice);
        }

        public int heads() {
            return Math.toIntExact(weights == null ? lists() : weights.cols());
        }

        /// Channels of a head.
        public int dim() {
            return Math.toIntExact(queries.cols() / heads());
        }

        /// Of each row.
        public int lists() {
            return Math.toIntExact(out.rows() / queries.rows());
        }

        public Choose with(Keys others) {
            return new Choose(out, queries, others, weights, places, choice);
        }

        @Override
        public Stream<Tensor> operands() {
            return Stream.of(Stream.of(out, queries), keys.tensors(), Shapes.some(weights, places))
                    .flatMap(s -> s);
        }
    }

    /// [ForwardOp.Attention] to chosen keys alone.
    ///
    /// @param k of `heads.kv()` heads; v too
    /// @param chosen F32 `[tokens * lists, most]` as [Choose] gives them: neighbouring heads share
    ///   a list
    record ChosenAttention(
            Tensor out,
            Tensor q,
            Keys k,
            Keys v,
            Tensor chosen,
            AttentionSpec.Heads heads,
            float scale)
            implements SparseOp {
        public ChosenAttention {
            long lists = chosen.rows() / q.rows();
            require(
                    q.cols() == heads.queryWidth()
                            && out.is(q.rows(), heads.outWidth())
                            && k.fit(q.rows(), heads.kv(), heads.dim())
                            && v.fit(q.rows(), heads.kv(), heads.valueDim())
                            && lists > 0
                            && chosen.rows() == lists * q.rows()
                            && heads.count() % lists == 0
                            && f32(out, q, chosen),
                    "chosenAttention",
                    out,
                    q,
                    k,
                    v,
                    chosen,
                    heads);
        }

        /// Of each row.
        public int lists() {
            return Math.toIntExact(chosen.rows() / q.rows());
        }

        public ChosenAttention with(Keys otherKeys, Keys values) {
            return new ChosenAttention(out, q, otherKeys, values, chosen, heads, scale);
        }

        @Override
        public Stream<Tensor> operands() {
            return Stream.of(Stream.of(out, q), k.tensors(), v.tensors(), Stream.of(chosen))
                    .flatMap(s -> s);
        }
    }
}
