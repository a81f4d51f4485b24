// SPDX-License-Identifier: Apache-2.0
package io.llmc.backend;

import static io.llmc.backend.Shapes.f32;
import static io.llmc.backend.Shapes.require;
import static io.llmc.backend.Shapes.some;

import io.llmc.backend.SparseOp.Keys;
import io.llmc.tensor.Tensor;
import java.util.stream.Stream;

/// Attention that sees keys of several tokens each beside those of the nearest tokens (DeepSeek V4,
/// 2026). All heads share them, and they are values, too.
///
/// Keys of `rate` tokens, here entries, have a row for each token as others have: that of an entry
/// is its last token's, from which on it is seen; the rows between hold nothing.
public sealed interface CompressedOp extends Op {
    /// Makes entries of tokens: each channel is a mean over tokens with weights that are the
    /// softmax over these of `gates + places`. Where there are twice as many columns as an entry
    /// has, that goes over the tokens of the entry before, with the first half of the columns, and
    /// over its own, with the second; a sequence's first entry has its own alone.
    ///
    /// @param out F32 `[tokens, dim]`; zeros where no entry ends
    /// @param tokens of one head: what is averaged, and behind it gates, as many columns as places
    /// @param places `[rate, dim]` or `[rate, 2 * dim]`
    record Compress(Tensor out, Keys tokens, Tensor places) implements CompressedOp {
        public Compress {
            long cols = places.cols();
            require(
                    (cols == out.cols() || cols == 2 * out.cols())
                            && tokens.fit(out.rows(), 1, Math.toIntExact(2 * cols))
                            && f32(out),
                    "compress",
                    out,
                    tokens,
                    places);
        }

        public int rate() {
            return Math.toIntExact(places.rows());
        }

        public Compress with(Keys others) {
            return new Compress(out, others, places);
        }

        @Override
        public Stream<Tensor> operands() {
            return Stream.concat(Stream.of(out, places), tokens.tensors());
        }
    }

    /// For each token the entries that count most, of those that it sees: `sum_h weights[t,h]
    /// max(0, queries[t,h,:] . entries[e,:])`.
    ///
    /// @param out F32 `[tokens, most]`: their numbers in the sequence, ascending; -1 where there
    ///   are fewer
    /// @param queries F32 `[tokens, heads * dim]`
    /// @param entries of one head
    /// @param weights F32 `[tokens, heads]`
    record ChooseEntries(Tensor out, Tensor queries, Keys entries, Tensor weights, int rate)
            implements CompressedOp {
        public ChooseEntries {
            long heads = weights.cols();
            require(
                    out.rows() == queries.rows()
                            && queries.cols() % heads == 0
                            && entries.fit(out.rows(), 1, Math.toIntExact(queries.cols() / heads))
                            && weights.rows() == out.rows()
                            && rate > 0
                            && f32(out, queries, weights),
                    "chooseEntries",
                    out,
                    queries,
                    entries,
                    weights,
                    rate);
        }

        public int heads() {
            return Math.toIntExact(weights.cols());
        }

        /// Channels of a head.
        public int dim() {
            return Math.toIntExact(queries.cols() / heads());
        }

        public ChooseEntries with(Keys others) {
            return new ChooseEntries(out, queries, others, weights, rate);
        }

        @Override
        public Stream<Tensor> operands() {
            return Stream.concat(Stream.of(out, queries, weights), entries.tensors());
        }
    }

    /// [ForwardOp.Attention] to the keys of a window and to entries, under one softmax.
    ///
    /// @param keys of tokens, of one head as wide as a query's
    /// @param entries likewise
    /// @param chosen as [ChooseEntries] gives them; null for all that a token sees
    /// @param sinks F32 `[heads]`
    record CompressedAttention(
            Tensor out, Tensor q, Keys keys, Keys entries, Tensor chosen, Tensor sinks, Sight sight)
            implements CompressedOp {
        public CompressedAttention {
            require(
                    out.like(q)
                            && q.cols() == (long) sight.heads() * sight.dim()
                            && keys.fit(q.rows(), 1, sight.dim())
                            && entries.fit(q.rows(), 1, sight.dim())
                            && (chosen == null || chosen.rows() == q.rows() && f32(chosen))
                            && sinks.isVector(sight.heads())
                            && f32(out, sinks),
                    "compressedAttention",
                    out,
                    q,
                    keys,
                    entries,
                    chosen,
                    sinks,
                    sight);
        }

        public CompressedAttention with(Keys otherKeys, Keys otherEntries) {
            return new CompressedAttention(out, q, otherKeys, otherEntries, chosen, sinks, sight);
        }

        @Override
        public Stream<Tensor> operands() {
            return Stream.of(some(out, q, chosen, sinks), keys.tensors(), entries.tensors())
                    .flatMap(s -> s);
        }
    }

    /// Who sees what in [CompressedAttention].
    ///
    /// @param heads of queries
    /// @param dim columns of a head
    /// @param window tokens that a position sees by themselves, itself among them
    /// @param rate tokens of an entry
    /// @param scale of the products of queries and keys
    record Sight(int heads, int dim, int window, int rate, float scale) {
        public Sight {
            require(
                    heads > 0 && dim > 0 && window > 0 && rate > 0,
                    "sight",
                    heads,
                    dim,
                    window,
                    rate);
        }
    }
}
