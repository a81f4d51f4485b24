// SPDX-License-Identifier: Apache-2.0
package io.llmc.tokenizer;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.json.JsonMapper;
import com.fasterxml.jackson.databind.node.MissingNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import io.llmc.formats.FormatException;
import io.llmc.formats.checkpoint.Checkpoint;
import io.llmc.tokenizer.jinja.Template;
import io.llmc.tokenizer.jinja.TemplateException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;

/// A model's own way to write a conversation as one text: `chat_template.jinja` in its directory,
/// or else `chat_template` in tokenizer_config.json, rendered as transformers' apply_chat_template
/// does. What a line says under `tools`, `documents`, `add_generation_prompt`,
/// `continue_final_message` and `chat_template_kwargs` is for the template, as there.
public final class ChatTemplate {
    private static final JsonMapper JSON = JsonMapper.builder().build();
    private static final String CONFIG = "tokenizer_config.json";
    private static final String PROBE = "probe";
    static final String PROMPT = "add_generation_prompt";
    static final String CONTINUE = "continue_final_message";
    private static final String MORE = "chat_template_kwargs";

    private final Path source;
    private final Template template;
    private final Map<String, Object> specialTokens;
    private final boolean takesParts;

    /// @param role `system`, `user` or `assistant`, as templates know them
    public record Message(String role, String content) {}

    private ChatTemplate(Path source, Template template, Map<String, Object> specialTokens) {
        this.source = source;
        this.template = template;
        this.specialTokens = specialTokens;
        this.takesParts = takesParts();
    }

    /// The one beside the weights, or else that of their own file; empty where the model has none.
    ///
    /// @throws FormatException where there is one that is not right
    public static Optional<ChatTemplate> open(Checkpoint c) {
        Optional<ChatTemplate> beside = open(c.directory());
        if (beside.isPresent()) {
            return beside;
        }
        Path file = c.config().file();
        return c.text(CONFIG).map(text -> of(file, json(file, text)).orElse(null));
    }

    /// Empty where the directory has none.
    ///
    /// @throws FormatException where there is one that is not right
    static Optional<ChatTemplate> open(Path directory) {
        Path config = directory.resolve(CONFIG);
        JsonNode settings =
                Files.isRegularFile(config)
                        ? json(config, TextFiles.read(config))
                        : JSON.createObjectNode();
        Path file = directory.resolve("chat_template.jinja");
        return Files.isRegularFile(file)
                ? Optional.of(parse(file, TextFiles.read(file), settings))
                : of(config, settings);
    }

    private static Optional<ChatTemplate> of(Path file, JsonNode settings) {
        String text = text(file, settings.path("chat_template"));
        return text == null ? Optional.empty() : Optional.of(parse(file, text, settings));
    }

    private static JsonNode json(Path file, String text) {
        try {
            return JSON.readTree(text);
        } catch (JsonProcessingException e) {
            throw new FormatException(file, "not valid JSON: " + e.getOriginalMessage());
        }
    }

    /// The template, or the one of several that is called `default`; null for none.
    private static String text(Path file, JsonNode template) {
        if (template.isTextual()) {
            return template.textValue();
        }
        if (template.isMissingNode() || template.isNull()) {
            return null;
        }
        for (JsonNode one : template) {
            if (one.path("name").asText().equals("default") && one.path("template").isTextual()) {
                return one.path("template").textValue();
            }
        }
        throw new FormatException(
                file,
                "chat_template: expected a string, or a list of {name, template} with the name"
                        + " default");
    }

    private static ChatTemplate parse(Path file, String text, JsonNode settings) {
        try {
            return new ChatTemplate(file, Template.parse(text), specialTokens(settings));
        } catch (TemplateException e) {
            throw new FormatException(
                    file, "line %d of the chat template: %s".formatted(e.line(), e.getMessage()));
        }
    }

    /// `bos_token` and the like: each a string, or an object with one under `content`.
    private static Map<String, Object> specialTokens(JsonNode settings) {
        Map<String, Object> tokens = new HashMap<>();
        for (Map.Entry<String, JsonNode> e : settings.properties()) {
            JsonNode token = e.getValue().isObject() ? e.getValue().path("content") : e.getValue();
            if (e.getKey().endsWith("_token") && token.isTextual()) {
                tokens.put(e.getKey(), token.textValue());
            }
        }
        return tokens;
    }

    /// Whether messages may be lists of parts: a template for strings fails, or prints the list.
    private boolean takesParts() {
        Map<String, Object> part = new LinkedHashMap<>();
        part.put("type", "text");
        part.put("text", PROBE);
        Map<String, Object> message = new LinkedHashMap<>();
        message.put("role", "user");
        message.put("content", List.of(part));
        try {
            String text =
                    template.render(variables(List.of(message), MissingNode.getInstance()), 0);
            return text.contains(PROBE) && !text.contains("'type'") && !text.contains("\"type\"");
        } catch (TemplateException e) {
            return false;
        }
    }

    private Map<String, Object> variables(List<Object> messages, JsonNode line) {
        Map<String, Object> variables = new HashMap<>(specialTokens);
        line.path(MORE).properties().forEach(e -> variables.put(e.getKey(), value(e.getValue())));
        variables.put("messages", messages);
        variables.put("tools", value(line.path("tools")));
        variables.put("documents", value(line.path("documents")));
        variables.put("add_generation_prompt", line.path(PROMPT).asBoolean());
        return variables;
    }

    /// The text of one line's conversation.
    ///
    /// @param line an object with `messages`
    /// @throws FormatException where it is none, or the template refuses it
    String render(Path file, int number, JsonNode line) {
        List<Object> messages = new ArrayList<>();
        JsonNode all = line.path("messages");
        if (!all.isArray() || all.isEmpty()) {
            throw wrong(file, number, "\"messages\" is no list of messages");
        }
        for (int i = 0; i < all.size(); i++) {
            messages.add(message(file, number, i, all.get(i)));
        }
        boolean continues = flag(file, number, line, CONTINUE);
        if (flag(file, number, line, PROMPT) && continues) {
            throw new FormatException(
                    file,
                    "line %d: has both \"%s\" and \"%s\"; leave one out"
                            .formatted(number, CONTINUE, PROMPT));
        }
        if (!line.path(MORE).isMissingNode() && !line.path(MORE).isObject()) {
            throw new FormatException(file, "line %d: \"%s\" is no object".formatted(number, MORE));
        }
        Map<String, Object> variables = variables(messages, line);
        long size = line.toString().length();
        try {
            return continues
                    ? template.renderContinued(variables, size)
                    : template.render(variables, size);
        } catch (TemplateException e) {
            throw new FormatException(
                    file,
                    "line %d: the model's chat template (%s, line %d) refuses the messages: %s"
                            .formatted(number, source.getFileName(), e.line(), e.getMessage()));
        }
    }

    /// The text of a conversation, up to where the assistant's answer begins.
    ///
    /// @throws FormatException where the template refuses it, as some do a system's message
    public String render(List<Message> conversation) {
        ObjectNode line = JSON.createObjectNode();
        for (Message message : conversation) {
            line.withArray("messages")
                    .addObject()
                    .put("role", message.role)
                    .put("content", message.content);
        }
        line.put(PROMPT, true);
        List<Object> messages = new ArrayList<>();
        line.path("messages").forEach(message -> messages.add(value(message)));
        try {
            return template.render(variables(messages, line), line.toString().length());
        } catch (TemplateException e) {
            throw new FormatException(
                    source,
                    "line %d of the chat template refuses the conversation: %s"
                            .formatted(e.line(), e.getMessage()));
        }
    }

    private static boolean flag(Path file, int number, JsonNode line, String name) {
        JsonNode flag = line.path(name);
        if (!flag.isBoolean() && !flag.isMissingNode() && !flag.isNull()) {
            throw new FormatException(
                    file,
                    "line %d: \"%s\" is %s, expected true or false".formatted(number, name, flag));
        }
        return flag.asBoolean();
    }

    private Object message(Path file, int number, int i, JsonNode message) {
        if (!message.path("role").isTextual()) {
            throw wrong(file, number, "message %d has no string under \"role\"".formatted(i + 1));
        }
        JsonNode content = message.path("content");
        boolean calls = message.path("tool_calls").isArray();
        if (!content.isTextual()
                && !isParts(content)
                && !(calls && content.isNull())
                && !(calls && content.isMissingNode())) {
            throw wrong(
                    file,
                    number,
                    "the content of message %d is neither a string nor a list of {\"type\": \"text\", \"text\": ...}"
                            .formatted(i + 1));
        }
        @SuppressWarnings("unchecked") // an object's value
        Map<String, Object> value = (Map<String, Object>) value(message);
        if (content.isArray() && !takesParts) {
            StringBuilder joined = new StringBuilder();
            content.forEach(part -> joined.append(part.path("text").textValue()));
            value.put("content", joined.toString());
        }
        return value;
    }

    private static boolean isParts(JsonNode content) {
        if (!content.isArray()) {
            return false;
        }
        for (JsonNode part : content) {
            if (!part.path("type").asText().equals("text") || !part.path("text").isTextual()) {
                return false;
            }
        }
        return true;
    }

    private static FormatException wrong(Path file, int number, String what) {
        return new FormatException(
                file,
                "line %d: %s; expected {\"messages\": [{\"role\": \"user\", \"content\": \"...\"}, ...]}"
                        .formatted(number, what));
    }

    private static Object value(JsonNode node) {
        return switch (node.getNodeType()) {
            case STRING -> node.textValue();
            case BOOLEAN -> node.booleanValue();
            case NUMBER ->
                    !node.isIntegralNumber()
                            ? (Object) node.doubleValue()
                            : node.canConvertToLong()
                                    ? (Object) node.longValue()
                                    : node.bigIntegerValue();
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
