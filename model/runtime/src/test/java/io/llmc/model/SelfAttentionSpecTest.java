// SPDX-License-Identifier: Apache-2.0
package io.llmc.model;

import static org.assertj.core.api.Assertions.assertThat;

import io.llmc.model.SelfAttentionSpec.Heads;
import io.llmc.model.SelfAttentionSpec.Projections;
import io.llmc.model.SelfAttentionSpec.RowOrder;
import io.llmc.model.SelfAttentionSpec.Scores;
import io.llmc.model.structure.PruneGroup;
import io.llmc.model.structure.ScaleGroup;
import io.llmc.model.structure.Span;
import java.util.List;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.EnumSource;

/// Where heads lie in a layer that holds q, k and v.
class SelfAttentionSpecTest {
    private static SelfAttentionSpec fused(RowOrder order, int heads, int kvHeads, int dim) {
        Heads sizes = new Heads(heads, kvHeads, dim);
        return new SelfAttentionSpec(
                Projections.fused("qkv", order, true),
                "out",
                true,
                sizes,
                Scores.of(sizes, 0),
                null);
    }

    private static int[] rows(Span span, int parts) {
        return span.indices(IntStream.range(0, parts).toArray()).toArray();
    }

    @ParameterizedTest
    @EnumSource(RowOrder.class)
    void everyRowIsOfOneHead(RowOrder order) {
        for (int kvHeads : List.of(1, 2, 3)) {
            for (int group : List.of(1, 2, 4)) {
                int heads = kvHeads * group;
                SelfAttentionSpec spec = fused(order, heads, kvHeads, 5);
                int[] all =
                        IntStream.of(
                                        IntStream.concat(
                                                        IntStream.of(rows(spec.queries(), heads)),
                                                        IntStream.concat(
                                                                IntStream.of(
                                                                        rows(spec.keys(), kvHeads)),
                                                                IntStream.of(
                                                                        rows(
                                                                                spec.values(),
                                                                                kvHeads))))
                                                .toArray())
                                .sorted()
                                .toArray();
                int count = (int) spec.linears(64).getFirst().out();
                assertThat(all).isEqualTo(IntStream.range(0, count).toArray());
            }
        }
    }

    /// As Falcon's and GPT-NeoX's layers have them.
    @ParameterizedTest
    @CsvSource({"q, 0, 0", "q, 1, 2", "q, 2, 8", "k, 0, 4", "k, 1, 12", "v, 0, 6", "v, 1, 14"})
    void byKvHeadAKeyAndAValueFollowTheirQueries(String which, int head, int row) {
        SelfAttentionSpec spec = fused(RowOrder.BY_KV_HEAD, 4, 2, 2);
        Span span =
                switch (which) {
                    case "q" -> spec.queries();
                    case "k" -> spec.keys();
                    default -> spec.values();
                };
        assertThat(span.start(head)).isEqualTo(row);
    }

    /// A KV head's columns of the output are those of its query heads.
    @Test
    void partsOfTheCoarserGroupAreRunsOfTheFinerOne() {
        List<PruneGroup> groups = fused(RowOrder.BY_KV_HEAD, 6, 2, 4).pruneGroups();
        Span coarse = groups.getFirst().columns().getFirst();
        Span fine = groups.getLast().columns().getFirst();
        assertThat(coarse.indices(1).toArray()).isEqualTo(fine.indices(3, 4, 5).toArray());
    }

    @Test
    void aColumnOfTheOutputReadsTheValueOfItsKvHead() {
        ScaleGroup group = fused(RowOrder.BY_PROJECTION, 6, 2, 4).scaleGroups().getFirst();
        ScaleGroup.Rows values = (ScaleGroup.Rows) group.source();
        assertThat(IntStream.range(0, 24).map(values::channel).toArray())
                .containsExactly(
                        0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3, 4, 5, 6, 7, 4, 5, 6, 7, 4, 5, 6, 7);
    }
}
