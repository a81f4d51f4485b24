// SPDX-License-Identifier: Apache-2.0
package io.llmc.model;

import io.llmc.model.LayerSpec.LinearSpec;
import io.llmc.model.SelfAttentionSpec.Heads;
import io.llmc.model.SelfAttentionSpec.Scores;
import io.llmc.model.structure.CacheSpec;
import io.llmc.model.structure.NormSpec;
import io.llmc.model.structure.PruneGroup;
import io.llmc.model.structure.RopeSpec;
import io.llmc.model.structure.Size;
import io.llmc.model.structure.Streams;
import java.util.List;
import java.util.function.UnaryOperator;

/// Causal self-attention to the keys and values of an earlier block (Gemma 3n): it makes queries
/// alone.
///
/// @param norm over each query head; null for none
/// @param turns null where queries do not turn
/// @param lender name of the attention that keeps keys and values
/// @param lent column of the rows between blocks where they begin
public record BorrowingAttentionSpec(
        String queries,
        String output,
        boolean biased,
        Heads sizes,
        Scores scores,
        RopeSpec turns,
        NormSpec norm,
        String lender,
        int lent)
        implements BodySpec {
    int queryWidth() {
        return sizes.queries() * sizes.dim();
    }

    int keyWidth() {
        return sizes.keys() * sizes.dim();
    }

    int valueWidth() {
        return sizes.keys() * sizes.valueDim();
    }

    int outWidth() {
        return sizes.queries() * sizes.valueDim();
    }

    public int heads() {
        return sizes.queries();
    }

    private LinearSpec queries(int hidden) {
        List<Size> made = List.of(Size.HEADS, Size.HEAD_DIM, Size.HIDDEN);
        return new LinearSpec(queries, queryWidth(), hidden, biased, made);
    }

    private LinearSpec output(int hidden) {
        List<Size> read = List.of(Size.HIDDEN, Size.HEADS, Size.HEAD_DIM);
        return new LinearSpec(output, hidden, outWidth(), biased, read);
    }

    /// What the lender keeps.
    CacheSpec kept(String attention) {
        return new CacheSpec(attention, sizes.keys(), sizes.dim(), sizes.valueDim());
    }

    @Override
    public List<LinearSpec> linears(int hidden) {
        return List.of(queries(hidden), output(hidden));
    }

    @Override
    public List<InnerNorm> innerNorms() {
        return norm == null
                ? List.of()
                : List.of(new InnerNorm(norm, 1, sizes.dim(), Size.HEAD_DIM));
    }

    /// Heads stay: those of the lender have as many.
    @Override
    public List<PruneGroup> pruneGroups() {
        return List.of();
    }

    @Override
    public Streams streams() {
        return new Streams(List.of(queries), List.of(output));
    }

    @Override
    public long kept() {
        return outWidth();
    }

    @Override
    public List<RopeSpec> ropes() {
        return turns == null ? List.of() : List.of(turns);
    }

    @Override
    public int window() {
        return scores.window();
    }

    @Override
    public String role() {
        return "attention";
    }

    @Override
    public String summary() {
        String seen = window() == 0 ? "" : ", window of " + window();
        return "%d heads of %d with the keys and values of %s%s"
                .formatted(heads(), sizes.dim(), lender, seen);
    }

    @Override
    public BorrowingAttentionSpec renamed(UnaryOperator<String> names) {
        return new BorrowingAttentionSpec(
                names.apply(queries),
                names.apply(output),
                biased,
                sizes,
                scores,
                turns,
                NormSpec.renamed(norm, names),
                names.apply(lender),
                lent);
    }

    @Override
    public Body build(BlockBuilder from, int hidden) {
        return new BorrowingAttention(
                this,
                from.linear(queries(hidden)),
                innerNorms().stream().map(from::norm).findFirst().orElse(null),
                from.linear(output(hidden)));
    }
}
