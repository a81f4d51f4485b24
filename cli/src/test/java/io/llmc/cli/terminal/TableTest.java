// SPDX-License-Identifier: Apache-2.0
package io.llmc.cli.terminal;

import static org.assertj.core.api.Assertions.assertThat;

import org.junit.jupiter.api.Test;

class TableTest {
    @Test
    void wordsToTheLeftAndFiguresToTheRight() {
        assertThat(
                        new Table("lr")
                                .row("layer", "error")
                                .row("q_proj", "0.1")
                                .row("x", "12.25")
                                .toString())
                .isEqualTo(
                        """
                        layer   error
                        q_proj    0.1
                        x       12.25
                        """);
    }
}
