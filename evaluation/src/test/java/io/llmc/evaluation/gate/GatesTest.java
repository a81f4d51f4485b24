// SPDX-License-Identifier: Apache-2.0
package io.llmc.evaluation.gate;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.llmc.pipeline.RecipeException;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

class GatesTest {
    @ParameterizedTest
    @CsvSource({
        "a<1, 0.5, true",
        "a<1, 1, false",
        "a<=1, 1, true",
        "a <= 1, 1.5, false",
        "a>1, 1, false",
        "a> 1, 2, true",
        "a>=1, 1, true",
        " a >= 1e0 , 0.5, false",
        "a<1, NaN, false",
        "a>1, NaN, false",
        "a>-1, -0.5, true",
        "a<1, -Infinity, true"
    })
    void aBoundIsKeptOrNot(String gate, double value, boolean passed) {
        Map<String, Object> figures = new LinkedHashMap<>();
        figures.put("a", Double.isNaN(value) ? null : value);
        List<Verdict> verdicts = Gates.parse(List.of(gate)).judge(figures);
        assertThat(verdicts).singleElement().matches(v -> v.passed() == passed);
    }

    @ParameterizedTest
    @ValueSource(
            strings = {
                "",
                "a",
                "a<",
                "<1",
                "a=1",
                "a==1",
                "a<b",
                "a<NaN",
                "a<Infinity",
                "a<1<2",
                "a b<1",
                "a<1 2",
                "a<>1",
                "a<0x",
                "a!=1"
            })
    void whatIsNoGateIsRefused(String text) {
        assertThatThrownBy(() -> Gate.parse(text))
                .isInstanceOf(RecipeException.class)
                .hasMessageStartingWith("{gate}: \"" + text + "\" is no gate; write a figure");
    }

    @Test
    void figuresWithinObjectsAndListsAreJoinedByDots() {
        Map<String, Object> figures = new LinkedHashMap<>();
        figures.put("tasks", Map.of("piqa", Map.of("acc", 0.75)));
        figures.put("latency", List.of(Map.of("depth", 128, "tokens_per_second", 9.5)));
        figures.put("model", "a text");
        figures.put("loss", null);
        assertThat(Gates.numbers(figures))
                .containsOnlyKeys(
                        "tasks.piqa.acc", "latency.0.depth", "latency.0.tokens_per_second", "loss");
        Gates gates = Gates.parse(List.of("tasks.piqa.acc>0.7", "latency.0.depth<=128", "loss<1"));
        assertThat(gates.judge(figures).stream().map(Verdict::passed))
                .containsExactly(true, true, false);
    }

    @Test
    void anUnknownFigureNamesTheNearest() {
        Gates gates = Gates.parse(List.of("loss<1", "kld_maen<0.05"));
        assertThatThrownBy(() -> gates.requireKnown(Set.of("loss", "kld_mean"), Set.of()))
                .isInstanceOf(RecipeException.class)
                .hasMessage("{gate}: there is no figure kld_maen here; did you mean kld_mean?");
        assertThatThrownBy(() -> gates.requireKnown(Set.of("loss"), Set.of("kld_maen")))
                .hasMessageContaining("name the original with {against}");
        assertThatThrownBy(() -> gates.requireKnown(Set.of("loss"), Set.of()))
                .hasMessageEndingWith("there are loss");
    }

    /// However close a figure is to its bound, what is shown lies on the same side.
    @Test
    void aFigureIsShownOnItsSideOfTheBound() {
        List<Double> values = new ArrayList<>(Arrays.asList(0.05, 1.0, 12.5, 3e-7));
        for (double bound : values) {
            for (double value :
                    new double[] {
                        bound, Math.nextUp(bound), Math.nextDown(bound), bound * 1.00001, bound * 3
                    }) {
                Verdict v = new Verdict(Gate.parse("a<" + bound), value);
                assertThat(Double.compare(Double.parseDouble(v.found()), bound))
                        .isEqualTo(Double.compare(value, bound));
            }
        }
        assertThat(new Verdict(Gate.parse("a<0.05"), 0.0712345).sentence())
                .isEqualTo("a is 0.07123, expected < 0.05");
        assertThat(new Verdict(Gate.parse("a>2"), Double.NaN).sentence())
                .isEqualTo("a is no number, expected > 2");
    }
}
