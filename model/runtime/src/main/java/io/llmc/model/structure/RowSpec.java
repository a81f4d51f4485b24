// SPDX-License-Identifier: Apache-2.0
package io.llmc.model.structure;

import java.util.List;
import java.util.function.UnaryOperator;
import java.util.stream.Stream;

/// What stands in a row between blocks: residual streams, and behind them what blocks read beside.
///
/// @param streams each as wide as the model
/// @param beside columns behind them: what blocks leave to later ones, and [LayerInputs]
/// @param inputs null for none
/// @param ends of several streams; null where there is one
/// @param token column of the token's number times [#SMALL]; 0 for none
public record RowSpec(int streams, int beside, LayerInputs inputs, Ends ends, int token) {
    /// What numbers of something are multiplied by in a row, exactly: they shall weigh nothing in
    /// what is made of it.
    public static final float SMALL = 0x1p-60f;

    /// How the embedding becomes several streams, and these one again. In a row the streams stand
    /// behind what branches read.
    public sealed interface Ends {
        /// Names of layers as wide as the stream.
        default List<String> layers() {
            return List.of();
        }

        Ends renamed(UnaryOperator<String> names);

        /// Layers that make the streams behind the first one of the embedding, and those that undo
        /// it before the mean (Gemma 3n).
        ///
        /// @param in names
        /// @param out as many
        record Projected(List<String> in, List<String> out) implements Ends {
            @Override
            public List<String> layers() {
                return Stream.concat(in.stream(), out.stream()).toList();
            }

            @Override
            public Projected renamed(UnaryOperator<String> names) {
                return new Projected(
                        in.stream().map(names).toList(), out.stream().map(names).toList());
            }
        }

        /// All streams begin as the embedding, and end as their mean.
        record Mean() implements Ends {
            @Override
            public Mean renamed(UnaryOperator<String> names) {
                return this;
            }
        }

        /// All streams begin as the embedding, and end as a sum with weights that are made of all
        /// of them: `sigmoid(scale fn(rms(X)) + base) + eps`.
        ///
        /// @param prefix of the names of `fn` `[streams, streams * hidden]`, `base` `[streams]` and
        ///   `scale` `[1]`
        /// @param normEps of the norm, which has no weights
        record Weighted(String prefix, double normEps, double eps) implements Ends {
            @Override
            public Weighted renamed(UnaryOperator<String> names) {
                return new Weighted(names.apply(prefix), normEps, eps);
            }
        }
    }

    public RowSpec(int streams, int beside, LayerInputs inputs) {
        this(streams, beside, inputs, null, 0);
    }

    /// With the numbers of tokens.
    public RowSpec withToken(int column) {
        return new RowSpec(streams, beside, inputs, ends, column);
    }

    /// One stream and nothing else.
    public static final RowSpec PLAIN = new RowSpec(1, 0, null);

    /// What each block reads of the token itself (Gemma 3n): `(sqrt(width) table[id] +
    /// norm(project(x) / sqrt(hidden))) / sqrt(2)`, x being what the first block reads.
    ///
    /// @param table name of an embedding `[rows, layers * width]`, without `.weight`
    /// @param rows of it; tokens beyond have the first one
    /// @param project name of a layer from the stream's width to as many
    /// @param norm over the channels of a block
    /// @param width channels of a block
    /// @param from column of the first one
    public record LayerInputs(
            String table,
            int rows,
            String project,
            NormSpec norm,
            int layers,
            int width,
            int from) {
        public int all() {
            return layers * width;
        }

        /// Column of a block's.
        public int of(int layer) {
            return from + layer * width;
        }

        LayerInputs renamed(UnaryOperator<String> names) {
            return new LayerInputs(
                    names.apply(table),
                    rows,
                    names.apply(project),
                    NormSpec.renamed(norm, names),
                    layers,
                    width,
                    from);
        }
    }

    public RowSpec {
        if (streams < 1 || beside < 0) {
            throw new IllegalArgumentException(
                    "no rows of %d streams and %d channels".formatted(streams, beside));
        }
    }

    /// Columns, of a model so wide.
    public int width(int hidden) {
        return Math.addExact(Math.multiplyExact(streams, hidden), beside);
    }

    public RowSpec renamed(UnaryOperator<String> names) {
        return new RowSpec(
                streams,
                beside,
                inputs == null ? null : inputs.renamed(names),
                ends == null ? null : ends.renamed(names),
                token);
    }
}
