// SPDX-License-Identifier: Apache-2.0
package io.llmc.pipeline;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import org.junit.jupiter.api.Test;

class ByteSizeTest {
    @Test
    void sizesAsPeopleWriteThem() {
        assertThat(ByteSize.parse("1K")).isEqualTo(1024);
        assertThat(ByteSize.parse("1.5GiB")).isEqualTo(3L << 29);
        assertThat(ByteSize.parse("800mb")).isEqualTo(800L << 20);
        assertThat(ByteSize.parse("123")).isEqualTo(123);
        for (String bad :
                new String[] {"", "G", "-1", "0", "5X", "1e30T", "0x1p9", "1d", "NaN", "."}) {
            assertThatThrownBy(() -> ByteSize.parse(bad)).hasMessageContaining("is not a size");
        }
        assertThat(ByteSize.format(812)).isEqualTo("812 B");
        assertThat(ByteSize.format(3L << 29)).isEqualTo("1.5 GiB");
    }
}
