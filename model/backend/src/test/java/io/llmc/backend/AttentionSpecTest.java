// SPDX-License-Identifier: Apache-2.0
package io.llmc.backend;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.llmc.backend.AttentionSpec.Heads;
import io.llmc.backend.AttentionSpec.Reach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class AttentionSpecTest {
    @Test
    void queriesAreTheLastOfTheirSequence() {
        Reach reach = new Reach(3, 10, 0, 0);
        assertThat(reach.position(0)).isEqualTo(7);
        assertThat(reach.position(2)).isEqualTo(9);
        assertThat(reach.first(2)).isZero();
    }

    /// Of a sequence of ten.
    @ParameterizedTest
    @CsvSource({
        "0, 0, 9, 0", // all
        "4, 0, 9, 6",
        "4, 0, 2, 0",
        "2147483647, 0, 9, 0",
        "0, 4, 9, 8", // the last chunk has two
        "0, 4, 7, 4",
        "0, 2147483647, 9, 0",
        "3, 4, 9, 8", // whichever hides more
        "1, 4, 7, 7"
    })
    void aWindowAndAChunkHideTheFirstKeys(int window, int chunk, int query, int first) {
        assertThat(new Reach(10, 10, window, chunk).first(query)).isEqualTo(first);
    }

    @Test
    void whatCannotBeIsRefused() {
        assertThatThrownBy(() -> new Reach(3, 2, 0, 0))
                .hasMessage("3 queries of 2 keys, window 0, chunk 0");
        assertThatThrownBy(() -> new Reach(0, 2, 0, 0)).hasMessageStartingWith("0 queries");
        assertThatThrownBy(() -> new Reach(1, 2, 0, -1)).hasMessageEndingWith("chunk -1");
        assertThatThrownBy(() -> new Heads(3, 2, 8, 8))
                .hasMessage("3 heads of 8 and 8 columns over 2");
    }
}
