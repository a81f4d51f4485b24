// SPDX-License-Identifier: Apache-2.0
package io.llmc.evaluation.tasks;

import io.llmc.pipeline.Options;
import io.llmc.tokenizer.jinja.Template;
import io.llmc.tokenizer.jinja.TemplateException;
import io.llmc.tokenizer.jinja.values.Values;
import java.util.List;
import java.util.Map;
import java.util.function.Supplier;

/// What a task makes of an item under one of its keys: a field of the item where the words are
/// one's name, else what a template gives; or always the same.
///
/// @param key `doc_to_text`
/// @param source the words; null for a constant
/// @param template null for a constant
/// @param constant a number, or a list of texts; null for words
record Field(String key, String source, Template template, Object constant) {
    /// Null where the task has no such key.
    static Field read(Options o, String key) {
        return read(o, key, null);
    }

    /// @param absent words that hold where the task has no such key
    static Field read(Options o, String key, String absent) {
        return switch (o.value(Options.camel(key)).orElse(absent)) {
            case null -> null;
            case String words -> new Field(key, words, template(o, key, words), null);
            case Long number -> new Field(key, null, null, number);
            case List<?> list ->
                    new Field(key, null, null, list.stream().map(Object::toString).toList());
            case Map<?, ?> map ->
                    new Field(
                            key, null, null, map.values().stream().map(Object::toString).toList());
            case Object other ->
                    throw o.error(
                            Options.camel(key),
                            "%s is %s, expected a template".formatted(key, other));
        };
    }

    private static Template template(Options o, String key, String words) {
        try {
            return Template.plain(words);
        } catch (TemplateException e) {
            throw o.error(
                    Options.camel(key),
                    "%s is no template: line %d: %s".formatted(key, e.line(), e.getMessage()));
        }
    }

    /// The item's own field, the template's text, or the constant.
    Object of(Doc doc) {
        if (constant != null) {
            return constant;
        }
        return doc.fields().containsKey(source)
                ? doc.get(source)
                : rendered(doc, () -> template.render(doc.fields(), size(doc)));
    }

    /// The same, as a text.
    String text(Doc doc) {
        if (of(doc) instanceof String text) {
            return text;
        }
        throw doc.wrong("%s gives no text, but %s".formatted(key, of(doc)));
    }

    /// A list of texts: a field, an expression in braces, or a constant.
    List<String> texts(Doc doc) {
        Object value =
                constant != null || doc.fields().containsKey(source)
                        ? of(doc)
                        : rendered(doc, () -> template.value(doc.fields(), size(doc)));
        if (value instanceof List<?> list
                && !list.isEmpty()
                && list.stream().allMatch(String.class::isInstance)) {
            return list.stream().map(String.class::cast).toList();
        }
        if (value instanceof List<?> list) {
            for (Object item : list) {
                if (item instanceof Values.Undefined u) {
                    throw doc.wrong("%s: %s is undefined%s".formatted(key, u.what(), doc.others()));
                }
            }
        }
        throw doc.wrong("%s gives no list of texts, but %s%s".formatted(key, value, doc.others()));
    }

    private static long size(Doc doc) {
        return doc.fields().toString().length();
    }

    private <T> T rendered(Doc doc, Supplier<T> work) {
        try {
            return work.get();
        } catch (TemplateException e) {
            throw doc.wrong("%s: %s%s".formatted(key, e.getMessage(), doc.others()));
        }
    }
}
