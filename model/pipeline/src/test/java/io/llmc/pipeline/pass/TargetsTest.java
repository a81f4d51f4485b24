// SPDX-License-Identifier: Apache-2.0
package io.llmc.pipeline.pass;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.llmc.formats.UserException;
import io.llmc.pipeline.Options;
import io.llmc.pipeline.RecipeException;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class TargetsTest {
    private static final List<String> NAMES =
            List.of(
                    "model.layers.0.self_attn.q_proj",
                    "model.layers.0.self_attn.k_proj",
                    "model.layers.0.mlp.up_proj",
                    "model.layers.0.mlp.down_proj",
                    "model.layers.1.mlp.down_proj");

    /// Regular expressions as compressed-tensors 0.20 understands them.
    @ParameterizedTest
    @CsvSource({
        "*,model.layers.0.mlp.up_proj,true",
        "*.mlp.*,model.layers.0.mlp.up_proj,true",
        "*.mlp.*,model.layers.0.self_attn.q_proj,false",
        "up_proj,model.layers.0.mlp.up_proj,true",
        "?p_proj,model.layers.0.mlp.up_proj,true",
        "up,model.layers.0.mlp.up_proj,false",
        "model.layers.1.*,model.layers.10.mlp.up_proj,false",
        "model.layers.1?.*,model.layers.10.mlp.up_proj,true",
        "model.layers.0.mlp.up_proj,modelXlayers.0.mlp.up_proj,false",
        "a(b,a(b,true",
        "re:.*up_proj,model.layers.0.mlp.up_proj,true",
        "re:.*up_proj$,model.layers.0.mlp.up_proj_2,false",
        "re:up_proj,model.layers.0.mlp.up_proj,false",
        "re:model.layers.0,model.layers.0.mlp.up_proj,true",
        "re:model.layers.0,model.layers.01.mlp.up_proj,true",
        "re:^model[.]layers[.](0|2)[.],model.layers.1.mlp.up_proj,false",
        "'re:.*layers.[0-9]{1,2}[.]mlp',model.layers.10.mlp.up_proj,true",
        "re:(?i).*MLP,model.layers.10.mlp.up_proj,true",
        "Linear,model.layers.10.mlp.up_proj,true",
        "Linears,model.layers.10.mlp.up_proj,false",
    })
    void patterns(String pattern, String name, boolean matches) {
        assertThat(Targets.of(List.of(pattern), List.of()).selects(name)).isEqualTo(matches);
    }

    @Test
    void ignoreWinsOverInclude() {
        Targets t = Targets.of(List.of("*.mlp.*"), List.of("down_proj"));
        assertThat(t.selects("model.layers.0.mlp.up_proj")).isTrue();
        assertThat(t.selects("model.layers.0.mlp.down_proj")).isFalse();
        assertThat(t.selects("model.layers.0.self_attn.q_proj")).isFalse();
        assertThat(Targets.ALL.selects("anything")).isTrue();
    }

    @ParameterizedTest
    @CsvSource({
        "dwon_proj,down_proj",
        "k_porj,k_proj",
        "*.mpl.*,*.mlp.*",
        "model.layer.0.*,model.layers.0.*",
        "layers.0.mlp.up_proj,model.layers.0.mlp.up_proj",
        "model.layers.7.mlp.down_proj,model.layers.0.mlp.down_proj",
        "re:mlp.*,re:.*mlp.*",
        "re:^self_attn,re:.*self_attn",
    })
    void whatMatchesNothingIsNamedWithWhatIsNear(String pattern, String near) {
        NamePatterns patterns = NamePatterns.of("ignore", List.of("*", pattern));
        assertThatThrownBy(() -> patterns.requireEach(NAMES, "the layers"))
                .isInstanceOfSatisfying(
                        UserException.class,
                        e -> {
                            assertThat(e)
                                    .hasMessage(
                                            "ignore " + pattern + " matches none of the layers");
                            assertThat(e.hint())
                                    .startsWith("did you mean " + near + "? ")
                                    .contains(NAMES.getFirst());
                        });
    }

    @Test
    void whatIsNearNothingGetsAnExample() {
        NamePatterns patterns = NamePatterns.of("targets", List.of("router"));
        assertThatThrownBy(() -> patterns.requireEach(NAMES, "the layers"))
                .isInstanceOfSatisfying(
                        UserException.class,
                        e -> assertThat(e.hint()).isEqualTo("names look like " + NAMES.getFirst()));
    }

    @ParameterizedTest
    @CsvSource({"re:(a,no regular expression", "re:*,no regular expression"})
    void whatIsNoRegularExpressionIsAnErrorOfTheRecipe(String pattern, String why) {
        assertThatThrownBy(() -> Targets.read(Options.of(Map.of("ignore", List.of(pattern)))))
                .isInstanceOf(RecipeException.class)
                .hasMessageContaining("ignore")
                .hasMessageContaining(why);
    }

    @Test
    void nestedQuantifiersEndInASentence() {
        for (String pattern : List.of("re:.*a.*a.*a.*a.*a.*a.*a.*c", "*a*a*a*a*a*a*a*a*a*a*c")) {
            Targets t = Targets.of(List.of(pattern), List.of());
            assertThatThrownBy(() -> t.selects("a".repeat(100)))
                    .isInstanceOf(UserException.class)
                    .hasMessageContaining("too long");
        }
    }
}
