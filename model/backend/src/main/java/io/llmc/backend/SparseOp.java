// SPDX-License-Identifier: Apache-2.0
package io.llmc.backend;

import static io.llmc.backend.Shapes.f32;
import static io.llmc.backend.Shapes.require;

import io.llmc.tensor.Tensor;
import java.util.stream.Stream;

/// Attention to keys that a model chooses. The choice has no gradient.
public sealed interface SparseOp extends Op {
    /// For each row the keys of its sequence that count most, of those up to itself: `sum_h
    /// weights[t,h] max(0, queries[t,h,:] . keys[s,:])` (DeepSeek V3.2, 2025, arXiv 2512.02556).
    ///
    /// @param out F32 `[tokens, most]`: their numbers, ascending; -1 where there are fewer
    /// @param queries `[tokens, heads * dim]`
    /// @param keys `[tokens, dim]`
    /// @param weights `[tokens, heads]`
    /// @param length rows of a sequence
    record Choose(Tensor out, Tensor queries, Tensor keys, Tensor weights, int length)
            implements SparseOp {
        public Choose {
            require(
                    out.rows() == queries.rows()
                            && keys.rows() == out.rows()
                            && weights.rows() == out.rows()
                            && queries.cols() == weights.cols() * keys.cols()
                            && length > 0
                            && out.rows() % length == 0
                            && f32(out, queries, keys, weights),
                    "choose",
                    out,
                    queries,
                    keys,
                    weights,
                    length);
        }

        public int heads() {
            return Math.toIntExact(weights.cols());
        }

        @Override
        public Stream<Tensor> operands() {
            return Stream.of(out, queries, keys, weights);
        }
    }

    /// [ForwardOp.Attention] to chosen keys alone.
    ///
    /// @param chosen as [Choose] gives them
    /// @param spec of whole sequences, without window, chunk and softcap
    record ChosenAttention(
            Tensor out, Tensor q, Tensor k, Tensor v, Tensor chosen, AttentionSpec spec)
            implements SparseOp {
        public ChosenAttention {
            AttentionSpec.Heads heads = spec.heads();
            AttentionSpec.Reach reach = spec.reach();
            require(
                    q.cols() == heads.queryWidth()
                            && out.is(q.rows(), heads.outWidth())
                            && k.is(q.rows(), heads.keyWidth())
                            && v.is(q.rows(), heads.valueWidth())
                            && chosen.rows() == q.rows()
                            && reach.keys() == reach.length()
                            && reach.window() == 0
                            && reach.chunk() == 0
                            && spec.softcap() == 0
                            && q.rows() % reach.length() == 0
                            && f32(out, q, k, v, chosen),
                    "chosenAttention",
                    out,
                    q,
                    k,
                    v,
                    chosen,
                    spec);
        }

        @Override
        public Stream<Tensor> operands() {
            return Stream.of(out, q, k, v, chosen);
        }
    }
}
