// SPDX-License-Identifier: Apache-2.0
package io.llmc.backend;

import static io.llmc.backend.Shapes.f32;
import static io.llmc.backend.Shapes.require;

import io.llmc.tensor.Codes;
import io.llmc.tensor.DType;
import io.llmc.tensor.Tensor;
import java.util.List;
import java.util.Objects;
import java.util.stream.Stream;

/// What decoding does with keys and values of earlier tokens. They lie in pages of a fixed number
/// of tokens, and a table says which page holds which stretch of a sequence, so that sequences grow
/// without being moved and share what they have in common (Kwon et al., 2023, arXiv 2309.06180).
public sealed interface CacheOp extends Op {
    /// Keys that attention sums up at a time, counted from a sequence's first: whole pages.
    int KEYS = 96;

    /// The pages of one layer's keys, or of its values: for each head of a page, `tokens` rows of
    /// `width` channels.
    ///
    /// @param data F32, F16, BF16, I8 or F8_E4M3 `[pages * heads, width * tokens]`
    /// @param scales F32 `[pages * heads, tokens]` of 8-bit types, each token of a head having one:
    ///   its largest magnitude over that of the codes; null otherwise
    /// @param tokens of a page, a divisor of [#KEYS]
    /// @param turned channels outside, tokens inside, as scores read keys; else the other way round
    record Pages(Tensor data, Tensor scales, int tokens, boolean turned) {
        public Pages {
            boolean eight = data.dtype() == DType.I8 || data.dtype() == DType.F8_E4M3;
            require(
                    tokens > 0
                            && KEYS % tokens == 0
                            && data.cols() % tokens == 0
                            && (eight || data.dtype().isFloat())
                            && (eight
                                    ? scales != null
                                            && f32(scales)
                                            && scales.is(data.rows(), tokens)
                                    : scales == null),
                    "pages",
                    data,
                    scales,
                    tokens);
        }

        /// Channels of a head.
        public int width() {
            return Math.toIntExact(data.cols() / tokens);
        }

        /// The scale of a token's head; 1 where all are zeros.
        ///
        /// @param most its largest magnitude
        /// @param type I8 or F8_E4M3
        public static float scale(float most, DType type) {
            float reach = type == DType.I8 ? 127 : Codes.Floats.E4M3.reach();
            return most == 0 ? 1 : most / reach;
        }

        Stream<Tensor> tensors() {
            return Stream.of(data, scales).filter(Objects::nonNull);
        }
    }

    /// One sequence's rows in a pass over several.
    ///
    /// @param row of its first query
    /// @param reach its queries, and its keys with theirs
    /// @param table I32: the page of keys `[i * tokens, (i + 1) * tokens)`; below 0 where no query
    ///   sees any of them
    record Run(int row, AttentionSpec.Reach reach, Tensor table) {
        boolean fits(Pages pages) {
            long needed = Math.ceilDiv(reach.keys(), pages.tokens());
            return row >= 0
                    && table.shape().rank() == 1
                    && table.dtype() == DType.I32
                    && table.shape().size() >= needed;
        }
    }

    /// Puts keys or values at their places: row `run.row() + t` of x becomes token `keys - length +
    /// t` of the run's sequence. Nothing else of the pages changes. Where they have scales, codes
    /// are the nearest to `x / scale`.
    ///
    /// @param x F32 `[tokens, heads * width]`
    record StorePages(Pages pages, Tensor x, List<Run> runs) implements CacheOp {
        public StorePages {
            require(
                    f32(x)
                            && x.cols() % pages.width() == 0
                            && pages.data().rows() % (x.cols() / pages.width()) == 0
                            && runs.stream()
                                    .allMatch(r ->
                                            r.fits(pages)
                                                    && r.row() + r.reach().length() <= x.rows()),
                    "storePages",
                    pages,
                    x,
                    runs);
        }

        @Override
        public Stream<Tensor> operands() {
            return Stream.concat(
                    pages.tensors(), Stream.concat(Stream.of(x), runs.stream().map(Run::table)));
        }
    }

    /// All rows of a run's sequence, those that the pass has stored among them.
    ///
    /// @param out F32 `[run.reach().keys(), heads * width]`; zeros for what lies nowhere
    record GatherPages(Tensor out, Pages pages, Run run) implements CacheOp {
        public GatherPages {
            require(
                    f32(out)
                            && out.rows() == run.reach().keys()
                            && out.cols() % pages.width() == 0
                            && pages.data().rows() % (out.cols() / pages.width()) == 0
                            && run.fits(pages),
                    "gatherPages",
                    out,
                    pages,
                    run);
        }

        /// Of a page.
        public int heads() {
            return Math.toIntExact(out.cols() / pages.width());
        }

        @Override
        public Stream<Tensor> operands() {
            return Stream.concat(Stream.of(out, run.table()), pages.tensors());
        }
    }

    /// [ForwardOp.Attention] of each run with the keys and values of its pages.
    ///
    /// @param out `[rows, count * valueDim]`; rows of no run stay as they are
    /// @param q `[rows, count * dim]`
    /// @param sinks null for none; `slopes` too
    /// @param spec of which each run has a reach of its own
    record PagedAttention(
            Tensor out,
            Tensor q,
            Pages keys,
            Pages values,
            List<Run> runs,
            Tensor sinks,
            Tensor slopes,
            AttentionSpec spec)
            implements CacheOp {
        public PagedAttention {
            AttentionSpec.Heads heads = spec.heads();
            require(
                    f32(out, q)
                            && q.cols() == heads.queryWidth()
                            && out.is(q.rows(), heads.outWidth())
                            && keys.turned()
                            && !values.turned()
                            && keys.tokens() == values.tokens()
                            && keys.width() == heads.dim()
                            && values.width() == heads.valueDim()
                            && keys.data().rows() == values.data().rows()
                            && keys.data().rows() % heads.kv() == 0
                            && Shapes.each(heads, sinks)
                            && Shapes.each(heads, slopes)
                            && runs.stream()
                                    .allMatch(r ->
                                            r.fits(keys)
                                                    && r.row() + r.reach().length() <= q.rows()),
                    "pagedAttention",
                    out,
                    q,
                    keys,
                    values,
                    runs,
                    sinks,
                    slopes,
                    spec);
        }

        @Override
        public Stream<Tensor> operands() {
            return Stream.of(
                            Stream.of(out, q),
                            keys.tensors(),
                            values.tensors(),
                            runs.stream().map(Run::table),
                            Shapes.some(sinks, slopes))
                    .flatMap(s -> s);
        }
    }
}
