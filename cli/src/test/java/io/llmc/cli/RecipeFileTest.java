// SPDX-License-Identifier: Apache-2.0
package io.llmc.cli;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.llmc.pipeline.RecipeException;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class RecipeFileTest {
    @TempDir private Path dir;

    private RecipeTree read(String yaml) throws IOException {
        return RecipeFile.read(Files.writeString(dir.resolve("recipe.yaml"), yaml));
    }

    private void refuse(String yaml, String... words) {
        assertThatThrownBy(() -> read(yaml))
                .isInstanceOf(RecipeException.class)
                .hasMessageContainingAll(words);
    }

    @Test
    void valuesArePlain() throws IOException {
        assertThat(
                        read("{a: 4, b: 0.5, c: true, d: [x, y], e: '4', f: null, g: -1, h: 1.5e-3}")
                                .root()
                                .values())
                .containsExactly(4L, 0.5, true, List.of("x", "y"), "4", null, -1L, 0.0015);
    }

    @Test
    void whatYamlElevenTookForNumbersAndTruthValuesIsText() throws IOException {
        assertThat(
                        read("{a: 2:4, b: off, c: yes, d: 0x10, e: 1_000, f: 2026-01-01, g: .inf}")
                                .root()
                                .values())
                .containsExactly("2:4", "off", "yes", "0x10", "1_000", "2026-01-01", ".inf");
    }

    @Test
    void keysInAnySpelling() throws IOException {
        assertThat(read("{group-size: 1, act_order: x}").root())
                .containsOnlyKeys("groupSize", "actOrder");
    }

    @Test
    void whatIsNotARecipeIsRefusedWithItsLine() {
        refuse("", "recipe.yaml", "is not a recipe");
        refuse("- a\n", "is not a recipe");
        refuse("a: 1\nb: [1\n", "recipe.yaml:", "is not YAML");
        refuse("a: 1\n\tb: 2\n", "recipe.yaml:2", "is not YAML");
        refuse("a: 1\nb: 2\na: 3\n", "recipe.yaml:3", "a stands here twice");
        refuse(
                "a: 1\ngroupSize: 2\ngroup-size: 3\n",
                "recipe.yaml:3",
                "groupSize stands here twice");
        refuse("[a]: 1\n", "recipe.yaml:1", "a key must be a word");
        refuse("a: 1\n---\nb: 1\n", "is not YAML");
        refuse("a: &x {b: *x}\n", "is not YAML", "aliases");
        refuse("a: !!java.net.URL [x]\n", "recipe.yaml:1", "tag");
        refuse("a: " + "[".repeat(100) + "]".repeat(100), "is not YAML");
    }

    @Test
    void setReplacesAndAdds() throws IOException {
        RecipeTree tree = read("steps:\n  - sweep:\n      - rtn: {bits: 4}\n");
        tree.set("", "steps.0.sweep.0.rtn.bits=3");
        tree.set("steps.0.sweep.0.rtn", "targets=[a, b]");
        tree.set("", "steps.1.evaluate.data=x.txt");
        assertThat(tree.root().toString())
                .isEqualTo(
                        "{steps=[{sweep=[{rtn={bits=3, targets=[a, b]}}]}, {evaluate={data=x.txt}}]}");
        assertThatThrownBy(() -> tree.set("", "steps.7.x=1")).hasMessageContaining("a list of 2");
        assertThatThrownBy(() -> tree.set("", "bits")).hasMessageContaining("expected key=value");
    }

    @Test
    void writtenAndReadAgainIsTheSame() throws IOException {
        RecipeTree tree =
                read(
                        "{model: m, steps: [{sweep: [{rtn: {bits: 4, clip: none, groupSize: '7'}}]}]}");
        assertThat(read(RecipeFile.write(tree.root())).root()).isEqualTo(tree.root());
    }
}
