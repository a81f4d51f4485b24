// SPDX-License-Identifier: Apache-2.0
package io.llmc.formats.checkpoint;

import static org.assertj.core.api.Assertions.assertThat;

import io.llmc.formats.Solver;
import io.llmc.formats.checkpoint.QuantPlan.Place;
import io.llmc.tensor.Encoding;
import io.llmc.tensor.Scheme;
import io.llmc.tensor.Schemes;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Optional;
import java.util.SequencedMap;
import java.util.regex.Pattern;
import org.junit.jupiter.api.Test;

class QuantPlanTest {
    private static final String ROOT = "language_model.model.";

    private static QuantPlan plan(Place place, List<String> packed, List<String> plain) {
        SequencedMap<String, Scheme> schemes = new LinkedHashMap<>();
        packed.forEach(name -> schemes.put(name, Scheme.of(Encoding.ints(4, 128, true))));
        Solver solver = new Solver("rtn", 0, Solver.Order.STORED, false, false);
        return new QuantPlan(
                new Schemes(schemes, Optional.empty()),
                List.of(new QuantPlan.Solved(solver, schemes.keySet())),
                plain,
                place,
                "llama",
                null,
                false);
    }

    /// Where readers have the names that the files have, names say it.
    @Test
    void aDecoderAloneIsNamed() {
        QuantPlan plan =
                plan(
                        Place.ALONE,
                        List.of("model.layers.0.mlp.up_proj"),
                        List.of("lm_head", "model.layers.0.mlp.gate"));
        assertThat(plan.untouched())
                .extracting(QuantPlan.Untouched::text)
                .containsExactly("lm_head", "model.layers.0.mlp.gate");
        assertThat(plan.patterns(plan.groups().getFirst(), false))
                .containsExactly("^model\\.layers\\.\\d+\\.mlp\\.up_proj$");
    }

    /// transformers has `model.language_model.layers` where the files have
    /// `language_model.model.layers`, and vLLM has names of its own: patterns hold under all.
    @Test
    void aPartOfAModelIsMatchedUnderAnyPrefix() {
        Place place = new Place(Optional.of(ROOT), List.of("vision_tower", "projector"));
        QuantPlan plan =
                plan(
                        place,
                        List.of(ROOT + "layers.0.mlp.up_proj", ROOT + "layers.1.mlp.gate"),
                        List.of("language_model.lm_head", ROOT + "layers.0.mlp.gate"));
        for (String name :
                List.of(
                        "lm_head",
                        "language_model.lm_head",
                        "model.language_model.layers.0.mlp.gate",
                        ROOT + "layers.0.mlp.gate",
                        "vision_tower.layers.0.mlp.up_proj",
                        "model.vision_tower.layers.3.mlp.up_proj",
                        "projector",
                        "model.projector.linear_1")) {
            assertThat(isUntouched(plan, name)).as(name).isTrue();
        }
        for (String name :
                List.of(
                        "model.language_model.layers.0.mlp.up_proj",
                        ROOT + "layers.0.mlp.up_proj",
                        ROOT + "layers.1.mlp.gate",
                        ROOT + "layers.0.mlp.gate_proj",
                        "model.my_projector.linear_1")) {
            assertThat(isUntouched(plan, name)).as(name).isFalse();
        }
        assertThat(plan.patterns(plan.groups().getFirst(), false))
                .anyMatch(p -> Pattern.matches(p, "model.language_model.layers.0.mlp.up_proj"))
                .noneMatch(p -> Pattern.matches(p, "model.language_model.layers.0.mlp.gate"));
        assertThat(plan.untouchedParts())
                .containsExactly("lm_head", "layers.0.mlp.gate", "vision_tower", "projector");
    }

    private static boolean isUntouched(QuantPlan plan, String name) {
        return plan.untouched().stream()
                .anyMatch(u -> Pattern.compile(u.pattern()).matcher(name).lookingAt());
    }
}
