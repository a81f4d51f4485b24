// SPDX-License-Identifier: Apache-2.0
package io.llmc.model;

import io.llmc.model.LayerSpec.LinearSpec;
import io.llmc.model.structure.NormSpec;
import io.llmc.model.structure.Size;
import io.llmc.model.structure.Streams;
import java.util.List;
import java.util.function.UnaryOperator;

/// `x + norm(up(down(x)))`: a learned residual of low rank (LAuReL: Menghani et al., 2024, arXiv
/// 2411.07501).
public record LaurelSpec(String down, String up, int rank, NormSpec norm, int hidden)
        implements BodySpec {
    private LinearSpec down(int width) {
        return new LinearSpec(down, rank, width, false, List.of(Size.HIDDEN));
    }

    private LinearSpec up(int width) {
        return new LinearSpec(up, width, rank, false, List.of(Size.HIDDEN));
    }

    private InnerNorm inner() {
        return new InnerNorm(norm, 1, hidden, Size.HIDDEN);
    }

    @Override
    public List<LinearSpec> linears(int width) {
        return List.of(down(width), up(width));
    }

    @Override
    public List<InnerNorm> innerNorms() {
        return List.of(inner());
    }

    @Override
    public Streams streams() {
        return new Streams(List.of(down), List.of());
    }

    @Override
    public boolean passesInput() {
        return true;
    }

    @Override
    public long kept() {
        return rank;
    }

    @Override
    public String role() {
        return "residual";
    }

    @Override
    public String summary() {
        return "a residual of rank " + rank;
    }

    @Override
    public LaurelSpec renamed(UnaryOperator<String> names) {
        return new LaurelSpec(
                names.apply(down), names.apply(up), rank, NormSpec.renamed(norm, names), hidden);
    }

    @Override
    public Body build(BlockBuilder from, int width) {
        return new Laurel(
                this, from.linear(down(width)), from.linear(up(width)), from.norm(inner()));
    }
}
