// SPDX-License-Identifier: Apache-2.0
package io.llmc.pipeline;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

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
}
