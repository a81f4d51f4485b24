// SPDX-License-Identifier: Apache-2.0
package io.llmc.tokenizer.jinja;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import io.llmc.formats.TestFiles;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.LocalDateTime;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import org.junit.jupiter.api.Test;

/// Published templates against what transformers makes of them, where the folder of expectations is
/// there: every text byte for byte, every refusal a refusal.
class PublishedTemplatesTest {
    private static final Path FOLDER = TestFiles.shared("oracles/chat-templates");
    private static final Set<String> KNOWN =
            Set.of("name", "messages", "tools", "documents", "continue_final_message");
    private static final ObjectMapper JSON = new ObjectMapper();

    @Test
    void everyConversationIsWrittenOrRefusedAsTransformersDoes() throws IOException {
        assumeTrue(Files.isDirectory(FOLDER), FOLDER + " is not there");
        JsonNode given = JSON.readTree(FOLDER.resolve("cases.json").toFile());
        JsonNode index = JSON.readTree(FOLDER.resolve("index.json").toFile());
        LocalDateTime now = LocalDateTime.parse(given.path("now").textValue());
        List<String> wrong = new ArrayList<>();
        int compared = 0;
        for (Map.Entry<String, JsonNode> one : index.properties()) {
            String name = one.getKey();
            String source = Files.readString(FOLDER.resolve("templates/" + name + ".jinja"));
            JsonNode expected =
                    JSON.readTree(FOLDER.resolve("expected/" + name + ".json").toFile());
            Template template = Template.parse(source);
            for (JsonNode c : given.path("cases")) {
                String difference =
                        difference(
                                template,
                                variables(one.getValue(), c, given.path("cases")),
                                c.path("continue_final_message").asBoolean(),
                                expected.path(c.path("name").textValue()),
                                now);
                compared++;
                if (difference != null) {
                    wrong.add("%s %s: %s".formatted(name, c.path("name").textValue(), difference));
                }
            }
        }
        assertThat(compared).isGreaterThan(3000);
        assertThat(wrong).isEmpty();
    }

    private static Map<String, Object> variables(JsonNode about, JsonNode c, JsonNode cases) {
        Map<String, Object> variables = new HashMap<>();
        about.path("tokens").properties().forEach(e -> put(variables, e));
        about.path("variables").properties().forEach(e -> put(variables, e));
        variables.put("messages", value(c.path("messages")));
        variables.put("tools", value(c.path("tools")));
        variables.put("documents", value(c.path("documents")));
        variables.put("add_generation_prompt", false);
        if (c.path("tools").isMissingNode() && about.path("tools_if_absent").asBoolean()) {
            for (JsonNode other : cases) {
                if (other.path("name").textValue().equals("tools_flat")) {
                    variables.put("tools", value(other.path("tools")));
                }
            }
        }
        c.properties().stream()
                .filter(e -> !KNOWN.contains(e.getKey()))
                .forEach(e -> put(variables, e));
        return variables;
    }

    private static void put(Map<String, Object> variables, Map.Entry<String, JsonNode> e) {
        variables.put(e.getKey(), value(e.getValue()));
    }

    /// Null where the template does what is expected.
    private static String difference(
            Template template,
            Map<String, Object> variables,
            boolean continues,
            JsonNode expected,
            LocalDateTime now) {
        String text;
        try {
            text =
                    continues
                            ? Continuation.render(template, variables, 0, now)
                            : template.render(variables, 0, now);
        } catch (TemplateException e) {
            boolean raised = expected.path("kind").asText().equals("raise_exception");
            if (expected.has("text")) {
                return "line %d: %s".formatted(e.line(), e.getMessage());
            }
            return raised && !e.getMessage().equals(expected.path("error").textValue())
                    ? "refused with " + e.getMessage()
                    : null;
        }
        if (!expected.has("text")) {
            return "not refused: " + expected.path("error").textValue();
        }
        return text.equals(expected.path("text").textValue())
                ? null
                : "expected <%s> but was <%s>".formatted(expected.path("text").textValue(), text);
    }

    private static Object value(JsonNode node) {
        return switch (node.getNodeType()) {
            case STRING -> node.textValue();
            case BOOLEAN -> node.booleanValue();
            case NUMBER ->
                    node.isIntegralNumber()
                            ? (Object) node.longValue()
                            : (Object) node.doubleValue();
            case ARRAY -> {
                List<Object> items = new ArrayList<>();
                node.forEach(item -> items.add(value(item)));
                yield items;
            }
            case OBJECT -> {
                Map<String, Object> entries = new LinkedHashMap<>();
                node.properties().forEach(e -> entries.put(e.getKey(), value(e.getValue())));
                yield entries;
            }
            case NULL, MISSING, BINARY, POJO -> null;
        };
    }
}
