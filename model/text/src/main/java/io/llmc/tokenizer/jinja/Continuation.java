// SPDX-License-Identifier: Apache-2.0
package io.llmc.tokenizer.jinja;

import io.llmc.tokenizer.jinja.values.Spaces;
import io.llmc.tokenizer.jinja.values.StringMethods;
import java.time.LocalDateTime;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/// A conversation whose last message is to be continued: its text is rendered with a mark at the
/// end, and everything from the mark on goes, as in transformers.
final class Continuation {
    private static final String MARK = "CONTINUE_FINAL_MESSAGE_TAG ";

    private final List<Object> messages;
    private String text;

    private Continuation(Object messages) {
        if (!(messages instanceof List<?> all)
                || all.isEmpty()
                || !(all.getLast() instanceof Map<?, ?> last)) {
            throw refused("there is no last message to continue");
        }
        this.messages = new ArrayList<>(all);
        Map<Object, Object> marked = new LinkedHashMap<>(last);
        marked.put("content", marked(last.get("content")));
        this.messages.set(all.size() - 1, marked);
    }

    private Object marked(Object content) {
        if (content instanceof String s) {
            text = s;
            return s + MARK;
        }
        if (content instanceof List<?> parts) {
            List<Object> marked = new ArrayList<>(parts);
            for (int i = parts.size() - 1; i >= 0; i--) {
                if (parts.get(i) instanceof Map<?, ?> part
                        && part.get("text") instanceof String s) {
                    text = s;
                    Map<Object, Object> changed = new LinkedHashMap<>(part);
                    changed.put("text", s + MARK);
                    marked.set(i, changed);
                    return marked;
                }
            }
        }
        throw refused("the last message has no text to continue");
    }

    private static TemplateException refused(String message) {
        return new TemplateException(0, message);
    }

    static String render(
            Template template, Map<String, Object> variables, long size, LocalDateTime now) {
        Continuation continued = new Continuation(variables.get("messages"));
        Map<String, Object> all = new HashMap<>(variables);
        all.put("messages", continued.messages);
        String rendered = template.render(all, size, now);
        int end = rendered.lastIndexOf(MARK.strip());
        String text = StringMethods.strip(continued.text, null, true, true);
        if (end < 0 || !rendered.contains(text)) {
            throw refused(
                    "it does not write the text of the last message, which is to be continued");
        }
        String kept = rendered.substring(0, end);
        // A template that trims took the blank of the mark, and those before it belong to its text.
        return rendered.startsWith(MARK, end) ? kept : Spaces.stripEnd(kept);
    }
}
