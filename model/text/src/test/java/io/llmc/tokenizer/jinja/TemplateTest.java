// SPDX-License-Identifier: Apache-2.0
package io.llmc.tokenizer.jinja;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import io.llmc.formats.TestFiles;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.MethodSource;
import org.junit.jupiter.params.provider.ValueSource;

/// Against what transformers makes of the same templates (testdata/chat-templates).
class TemplateTest {
    private static final Path DATA = TestFiles.testdata().resolve("chat-templates");
    private static final ObjectMapper JSON = new ObjectMapper();

    static List<Arguments> renderings() throws IOException {
        List<Arguments> all = new ArrayList<>();
        JsonNode expected = JSON.readTree(DATA.resolve("expected.json").toFile());
        for (JsonNode one : JSON.readTree(DATA.resolve("cases.json").toFile())) {
            String name = one.path("name").asText();
            Object messages = JSON.convertValue(one.path("messages"), Object.class);
            expected.properties()
                    .forEach(e ->
                            all.add(
                                    Arguments.of(
                                            e.getKey(),
                                            name,
                                            messages,
                                            e.getValue().path(name).textValue())));
        }
        assertThat(all).hasSizeGreaterThan(40);
        return all;
    }

    @ParameterizedTest(name = "{0} {1}")
    @MethodSource("renderings")
    void rendersAsTransformersDoes(String template, String name, Object messages, String expected)
            throws IOException {
        Template parsed = Template.parse(Files.readString(DATA.resolve(template + ".jinja")));
        Map<String, Object> variables = new HashMap<>();
        variables.put("messages", longs(messages));
        variables.put("bos_token", "<s>");
        variables.put("eos_token", "</s>");
        variables.put("tools", null);
        variables.put("add_generation_prompt", false);
        if (expected == null) {
            assertThatThrownBy(() -> parsed.render(variables, 0))
                    .isInstanceOf(TemplateException.class);
        } else {
            assertThat(parsed.render(variables, 0)).isEqualTo(expected);
        }
    }

    /// Jackson reads small numbers as Integer.
    private static Object longs(Object v) {
        return switch (v) {
            case Integer i -> i.longValue();
            case List<?> l -> new ArrayList<>(l.stream().map(TemplateTest::longs).toList());
            case Map<?, ?> m -> {
                Map<Object, Object> copy = new java.util.LinkedHashMap<>();
                m.forEach((k, w) -> copy.put(k, longs(w)));
                yield copy;
            }
            case null, default -> v;
        };
    }

    private static String render(String source) {
        return Template.parse(source).render(Map.of(), 0);
    }

    @Test
    void noneIsAKeyThatAMappingMayLack() throws Exception {
        String source = "{{ m[none] is defined }} {{ none in m }} {{ m.get(none, 1) }}";
        assertThat(Template.parse(source).render(Map.of("m", Map.of("a", "b", "c", "d")), 0))
                .isEqualTo("False False 1");
        assertThat(render("{% set m = {none: 2} %}{{ m[none] }} {{ none in m }}"))
                .isEqualTo("2 True");
    }

    @ParameterizedTest
    @ValueSource(
            strings = {
                "{% for i in range(999999999999) %}{% endfor %}",
                "{% for i in range(9999) %}{% for j in range(9999) %}x{% endfor %}{% endfor %}",
                "{{ 'x' * 99999999999 }}",
                "{% set n = namespace(s='xx') %}{% for i in range(60) %}{% set n.s = n.s + n.s %}{%"
                        + " endfor %}",
                "{% set n = namespace(s=[]) %}{% for i in range(60) %}{% set n.s = [n.s, n.s] %}{%"
                        + " endfor %}{{ n.s }}",
                "{% set n = namespace(s=[]) %}{% for i in range(60) %}{% set n.s = [n.s, n.s] %}{%"
                        + " endfor %}{{ n.s == n.s }}",
                "{% set n = namespace(s=[]) %}{% for i in range(60) %}{% set n.s = [n.s, n.s] %}{%"
                        + " endfor %}{{ {n.s: 1} }}",
                "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
                "{{ [1] | tojson(indent=999999999999) }}",
                "{{ 2 ** 99999999 }}",
                "{{ 2 ** 20000 }}",
                "{{ [1] * 99999999999 }}",
                "{% for x in [1] recursive %}{{ loop([1]) }}{% endfor %}",
                "{{ '%99999d' % 1 }}",
                "{{ ''.center(99999999999) }}",
                "{{ '{:9999}'.format(1) * 9999999 }}",
            })
    void whatWouldNotEndIsRefused(String source) {
        assertThatThrownBy(() -> render(source)).isInstanceOf(TemplateException.class);
    }

    @Test
    void longAndDeepExpressionsAreRefused() {
        assertThatThrownBy(() -> render("{{ " + "1 + ".repeat(200_000) + "1 }}"))
                .isInstanceOf(TemplateException.class);
        assertThatThrownBy(() -> render("{{ " + "(".repeat(5000)))
                .isInstanceOf(TemplateException.class);
        assertThatThrownBy(() -> render("{% if true %}".repeat(5000)))
                .isInstanceOf(TemplateException.class);
    }

    @ParameterizedTest
    @ValueSource(
            strings = {
                "{% include 'x' %}",
                "{% import 'x' as y %}",
                "{% extends 'x' %}",
                "{{ ''.__class__ }}{{ ''.__class__.__mro__ }}",
                "{{ ''.getClass().forName('java.lang.Runtime') }}",
                "{{ [].append(1) }}",
                "{{ namespace().getClass() }}",
            })
    void nothingOutsideIsReached(String source) {
        assertThatThrownBy(() -> render(source)).isInstanceOf(TemplateException.class);
    }

    @ParameterizedTest
    @CsvSource(
            delimiter = ';',
            value = {
                "a\\nb{{;2",
                "a\\n{% if x %};2",
                "a\\n\\n{{ x.y }};3",
                "{{ 'a' | wrong }};1",
                "\\n{{ raise_exception('no') }};2",
                "{% raw %};1",
                "{{ 1 is wrong }};1",
            })
    void errorsHaveTheirLine(String source, int line) {
        String text = source.replace("\\n", "\n");
        assertThatThrownBy(() -> render(text))
                .isInstanceOfSatisfying(
                        TemplateException.class, e -> assertThat(e.line()).isEqualTo(line));
    }

    @ParameterizedTest
    @CsvSource(
            delimiter = ';',
            quoteCharacter = '`',
            value = {
                "{{ 'a.b.c'.rsplit('.', 1) }};['a.b', 'c']",
                "{{ 'abcd'[::-1] }}{{ [1,2,3][-2:] }}{{ 'abc'[5:] }};dcba[2, 3]",
                "{{ 1e16 }} {{ 1.5e-7 }} {{ 100000.0 }};1e+16 1.5e-07 100000.0",
                "{% raw %}{{ x }}{% endraw %};{{ x }}",
                "{{ not 1 == 2 and 3 > 2 > 1 }};True",
                "{{ 'a' ~ 1 + 2 if false else -2 ** 2 }};4",
                "{{ 'x' is in ['x'] }}{{ 3 is divisibleby 3 }}{{ x is not defined }};TrueTrueTrue",
                "{{ [3,1,2] | sort | join('-') }} {{ {'b': 1, 'a': 2} | dictsort }};1-2-3 [('a',"
                        + " 2), ('b', 1)]",
            })
    void expressionsAreWorthWhatPythonSays(String source, String expected) {
        assertThat(render(source)).isEqualTo(expected);
    }

    /// As Jinja has it where nothing is set but `keep_trailing_newline` and `StrictUndefined`.
    @Test
    void aPlainTemplateKeepsItsBlanksAndWritesNothingUndefined() {
        String source = "a\n  {% if true %}\n b {% endif %}\n";
        assertThat(Template.plain(source).render(Map.of(), 0)).isEqualTo("a\n  \n b \n");
        assertThat(Template.parse(source).render(Map.of(), 0)).isEqualTo("a\n b ");
        Template reads = Template.plain("x\n{{ question }}");
        assertThat(reads.render(Map.of("question", "q"), 0)).isEqualTo("x\nq");
        assertThatThrownBy(() -> reads.render(Map.of(), 0))
                .isInstanceOfSatisfying(
                        TemplateException.class,
                        e -> {
                            assertThat(e).hasMessage("question is undefined");
                            assertThat(e.line()).isEqualTo(2);
                        });
        assertThatThrownBy(() -> Template.plain("{{ a.b }}").value(Map.of("a", Map.of()), 0))
                .hasMessage("b is undefined");
    }

    @Test
    void oneExpressionIsWorthAValue() {
        Map<String, Object> item = Map.of("choices", Map.of("text", List.of("a", "b")), "n", 3L);
        assertThat(Template.plain("{{choices.text}}").value(item, 0)).isEqualTo(List.of("a", "b"));
        assertThat(Template.plain("{{ n + 1 }}").value(item, 0)).isEqualTo(4L);
        assertThat(Template.plain("{{ (n, 'x') }}").value(item, 0)).isEqualTo(List.of(3L, "x"));
        assertThat(Template.plain("{{ n }} ").value(item, 0)).isEqualTo("3 ");
    }
}
