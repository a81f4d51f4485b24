// SPDX-License-Identifier: Apache-2.0
package io.llmc.backend;

import static io.llmc.backend.Shapes.f32;
import static io.llmc.backend.Shapes.require;
import static io.llmc.backend.Shapes.some;

import io.llmc.tensor.Tensor;
import java.util.stream.Stream;

/// Attention that sees keys of several tokens each beside those of the nearest tokens (DeepSeek V4,
/// 2026). All heads share them, and they are values, too.
public sealed interface CompressedOp extends Op {
    /// Keys of whole sequences: entry e of a sequence stands for `rate` of its tokens, from `e *
    /// rate` on, and is seen from the last of these on.
    ///
    /// @param x F32 `[sequences * count(), dim]`
    /// @param length tokens of a sequence, at least `rate`
    record Entries(Tensor x, int rate, int length) {
        public Entries {
            require(rate > 0 && length >= rate && f32(x), "entries", x, rate, length);
        }

        /// Of a sequence.
        public int count() {
            return length / rate;
        }

        /// Those that a position sees: the first ones.
        public int seen(int position) {
            return Math.min(count(), (position + 1) / rate);
        }

        private boolean of(long tokens, long dim) {
            return tokens % length == 0 && x.is(tokens / length * count(), dim);
        }
    }

    /// Makes entries of tokens: each channel is a mean over tokens with weights that are the
    /// softmax over these of `gates + places`. Where x is twice as wide as an entry, that goes over
    /// the tokens of the entry before, with the first half of the columns, and over its own, with
    /// the second; the first entry has its own alone.
    ///
    /// @param x F32 `[tokens, dim]` or `[tokens, 2 * dim]`
    /// @param gates like x
    /// @param places `[rate, x.cols]`
    record Compress(Entries out, Tensor x, Tensor gates, Tensor places) implements CompressedOp {
        public Compress {
            long dim = out.x().cols();
            require(
                    out.of(x.rows(), dim)
                            && (x.cols() == dim || x.cols() == 2 * dim)
                            && gates.like(x)
                            && places.is(out.rate(), x.cols())
                            && f32(x),
                    "compress",
                    out,
                    x,
                    gates,
                    places);
        }

        @Override
        public Stream<Tensor> operands() {
            return Stream.of(out.x(), x, gates, places);
        }
    }

    /// For each token the entries that count most, of those that it sees: `sum_h weights[t,h]
    /// max(0, queries[t,h,:] . entries[e,:])`.
    ///
    /// @param out F32 `[tokens, most]`: their numbers, ascending; -1 where there are fewer
    /// @param queries F32 `[tokens, heads * dim]`
    /// @param weights F32 `[tokens, heads]`
    record ChooseEntries(Tensor out, Tensor queries, Entries entries, Tensor weights)
            implements CompressedOp {
        public ChooseEntries {
            long dim = entries.x().cols();
            require(
                    out.rows() == queries.rows()
                            && entries.of(out.rows(), dim)
                            && queries.is(out.rows(), weights.cols() * dim)
                            && weights.rows() == out.rows()
                            && f32(out, queries, weights),
                    "chooseEntries",
                    out,
                    queries,
                    entries,
                    weights);
        }

        @Override
        public Stream<Tensor> operands() {
            return Stream.of(out, queries, entries.x(), weights);
        }
    }

    /// [ForwardOp.Attention] to the keys of a window and to entries, under one softmax.
    ///
    /// @param keys F32 `[tokens, dim]`, which are values, too
    /// @param chosen as [ChooseEntries] gives them; null for all that a token sees
    /// @param sinks F32 `[heads]`
    /// @param spec of whole sequences and one head of keys, with a window
    record CompressedAttention(
            Tensor out,
            Tensor q,
            Tensor keys,
            Entries entries,
            Tensor chosen,
            Tensor sinks,
            AttentionSpec spec)
            implements CompressedOp {
        public CompressedAttention {
            AttentionSpec.Heads heads = spec.heads();
            AttentionSpec.Reach reach = spec.reach();
            require(
                    heads.kv() == 1
                            && heads.dim() == heads.valueDim()
                            && out.is(q.rows(), heads.outWidth())
                            && q.cols() == heads.queryWidth()
                            && keys.is(q.rows(), heads.dim())
                            && entries.of(q.rows(), heads.dim())
                            && (chosen == null || chosen.rows() == q.rows() && f32(chosen))
                            && sinks.isVector(heads.count())
                            && reach.keys() == reach.length()
                            && reach.length() == entries.length()
                            && reach.chunk() == 0
                            && spec.softcap() == 0
                            && f32(out, q, keys, sinks),
                    "compressedAttention",
                    out,
                    q,
                    keys,
                    entries,
                    chosen,
                    sinks,
                    spec);
        }

        @Override
        public Stream<Tensor> operands() {
            return some(out, q, keys, entries.x(), chosen, sinks);
        }
    }
}
