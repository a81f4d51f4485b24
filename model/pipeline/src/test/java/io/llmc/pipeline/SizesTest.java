// SPDX-License-Identifier: Apache-2.0
package io.llmc.pipeline;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import org.junit.jupiter.api.Test;

class SizesTest {
    @Test
    void sizesAsPeopleWriteThem() {
        assertThat(Sizes.parse("1K")).isEqualTo(1024);
        assertThat(Sizes.parse("1.5GiB")).isEqualTo(3L << 29);
        assertThat(Sizes.parse("800mb")).isEqualTo(800L << 20);
        assertThat(Sizes.parse("123")).isEqualTo(123);
        for (String bad :
                new String[] {"", "G", "-1", "0", "5X", "1e30T", "0x1p9", "1d", "NaN", "."}) {
            assertThatThrownBy(() -> Sizes.parse(bad)).hasMessageContaining("is not a size");
        }
        assertThat(Sizes.format(812)).isEqualTo("812 B");
        assertThat(Sizes.format(3L << 29)).isEqualTo("1.5 GiB");
    }
}
