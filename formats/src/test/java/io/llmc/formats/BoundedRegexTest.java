// SPDX-License-Identifier: Apache-2.0
package io.llmc.formats;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.llmc.formats.BoundedRegex.RegexException;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

class BoundedRegexTest {
    @Test
    void matchesAsPythonDoes() throws RegexException {
        BoundedRegex regex = BoundedRegex.compile("model\\.layers\\.\\d+\\.mlp");
        assertThat(regex.lookingAt("model.layers.12.mlp.down_proj")).isTrue();
        assertThat(regex.matches("model.layers.12.mlp.down_proj")).isFalse();
        assertThat(regex.lookingAt("x.model.layers.12.mlp")).isFalse();
        assertThat(regex.find("x.model.layers.12.mlp")).isTrue();
    }

    /// None of them matches; finding that out may take too long, but then it is said.
    @Test
    @Timeout(5)
    void aPatternThatBacktracksForEverEnds() throws RegexException {
        String text = "a".repeat(60) + "!";
        int tooLong = 0;
        for (String pattern : List.of("(a+)+$", "(a|aa)+$", "(.*)*x\\1$", "(.*a){20}\\d")) {
            try {
                assertThat(BoundedRegex.compile(pattern).lookingAt(text)).as(pattern).isFalse();
            } catch (RegexException e) {
                assertThat(e).hasMessageContaining("too long to match");
                tooLong++;
            }
        }
        assertThat(tooLong).isPositive();
    }

    @Test
    @Timeout(5)
    void aLongTextDoesNotOverflowTheStack() throws RegexException {
        BoundedRegex regex = BoundedRegex.compile("(a|b)*");
        try {
            assertThat(regex.matches("ab".repeat(200_000))).isTrue();
        } catch (RegexException e) {
            assertThat(e).hasMessageContaining("too long to match");
        }
    }

    @Test
    void nestingLengthAndSyntaxAreChecked() {
        assertThatThrownBy(() -> BoundedRegex.compile("(".repeat(5000) + ")".repeat(5000)))
                .hasMessageContaining("too long");
        assertThatThrownBy(() -> BoundedRegex.compile("(".repeat(500) + ")".repeat(500)))
                .hasMessageContaining("50 deep");
        assertThatThrownBy(() -> BoundedRegex.compile("a(b"))
                .hasMessageContaining("no regular expression");
    }
}
