// SPDX-License-Identifier: Apache-2.0
package io.llmc.pipeline;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.nio.file.Path;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;

class OptionsTest {
    enum Order {
        STATIC,
        BY_GROUP
    }

    private static Options of(Object... pairs) {
        Map<String, Object> map = new LinkedHashMap<>();
        for (int i = 0; i < pairs.length; i += 2) {
            map.put((String) pairs[i], pairs[i + 1]);
        }
        return Options.of(map);
    }

    @Test
    void readsWhatYamlAndFlagsSay() {
        Options o =
                of(
                        "bits",
                        "3",
                        "group_size",
                        64,
                        "damp",
                        0.5,
                        "on",
                        true,
                        "order",
                        "by-group",
                        "ignore",
                        "a");
        assertThat(o.integer("bits", 4)).isEqualTo(3);
        assertThat(o.integer("groupSize", 128)).isEqualTo(64);
        assertThat(o.decimal("damp", 0)).isEqualTo(0.5);
        assertThat(o.flag("on", false)).isTrue();
        assertThat(o.choice("order", Order.class, Order.STATIC)).isEqualTo(Order.BY_GROUP);
        assertThat(o.texts("ignore")).containsExactly("a");
        assertThat(o.integer("absent", 7)).isEqualTo(7);
        o.finish();
    }

    @Test
    void anUnknownKeyNamesTheNearest() {
        Options o = of("groupsiz", 64);
        o.integer("groupSize", 128);
        o.integer("bits", 4);
        assertThatThrownBy(o::finish)
                .isInstanceOf(RecipeException.class)
                .hasMessage("groupsiz: unknown key groupsiz; did you mean groupSize?");
    }

    @Test
    void anUnknownKeyInASectionSaysWhere() {
        Options o = of("steps", List.of(Map.of("gptq", Map.of("bitz", 4))));
        o.sections("steps").getFirst().section("gptq").integer("bits", 4);
        assertThatThrownBy(o::finish)
                .hasMessage("steps[0].gptq.bitz: unknown key bitz; did you mean bits?");
    }

    @Test
    void aWrongValueSaysWhatWasExpected() {
        assertThatThrownBy(() -> of("bits", "four").integer("bits", 4))
                .hasMessage("bits: bits is four, expected a whole number");
        assertThatThrownBy(() -> of("bits", 4.5).integer("bits", 4))
                .hasMessageContaining("a whole number");
        assertThatThrownBy(() -> of("order", "x").choice("order", Order.class, Order.STATIC))
                .hasMessage("order: order is x, expected one of static, by-group");
        assertThatThrownBy(() -> of("steps", "x").sections("steps")).hasMessageContaining("a list");
        assertThatThrownBy(() -> of().text("model")).hasMessage("model: model is missing");
    }

    @Test
    void numbersAreExactAndFinite() {
        assertThat(of("seed", 3.0).whole("seed", 0)).isEqualTo(3);
        assertThat(of("seed", "-4").whole("seed", 0)).isEqualTo(-4);
        for (Object wrong : List.of(1.5, 1e99, "9223372036854775808", "x", true, Map.of())) {
            assertThatThrownBy(() -> of("seed", wrong).whole("seed", 0))
                    .hasMessage("seed: seed is %s, expected a whole number", wrong);
        }
        for (Object wrong : List.of(Double.NaN, "Infinity", "1e999", "", List.of())) {
            assertThatThrownBy(() -> of("damp", wrong).decimal("damp", 0))
                    .hasMessage("damp: damp is %s, expected a number", wrong);
        }
    }

    @Test
    void sizesAndPathsNameTheirKey() {
        assertThat(of("shardSize", "2K").size("shardSize", "5G")).isEqualTo(2048);
        assertThat(of().size("shardSize", "5G")).isEqualTo(5L << 30);
        assertThatThrownBy(() -> of("shardSize", 0).size("shardSize", "5G"))
                .isInstanceOf(RecipeException.class)
                .hasMessageContaining("shardSize: \"0\" is not a size");
        assertThat(of("data", "a.txt").path("data")).isEqualTo(Path.of("a.txt"));
        assertThat(of().path("data", (Path) null)).isNull();
        for (String wrong : List.of("a\0b", "", "\ud800")) {
            assertThatThrownBy(() -> of("data", wrong).path("data"))
                    .isInstanceOf(RecipeException.class)
                    .hasMessageStartingWith("data: data is ");
        }
    }

    @Test
    void itemsOfAListAreTexts() {
        assertThat(of("ignore", List.of("a", 2)).texts("ignore")).containsExactly("a", "2");
        for (Object wrong : Arrays.asList(null, List.of(), Map.of())) {
            assertThatThrownBy(() -> of("ignore", Arrays.asList("a", wrong)).texts("ignore"))
                    .isInstanceOf(RecipeException.class)
                    .hasMessage("ignore: ignore is %s, expected a text, or a list of texts", wrong);
        }
    }
}
