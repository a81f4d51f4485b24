// SPDX-License-Identifier: Apache-2.0
package io.llmc.evaluation.tasks;

import io.llmc.tokenizer.jinja.Template;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.function.UnaryOperator;
import java.util.regex.Pattern;

/// What is done to items before templates see them: for the tasks whose formatting is code in
/// lm-eval, not a template.
enum Preparation {
    NONE("none", doc -> doc),

    /// Makes `query` and `choices`: WikiHow's marks go, `ctx_b` begins large and goes on small.
    HELLASWAG("hellaswag", Preparation::hellaswag),

    /// Makes `text` of `page`: a text as people write it, from one whose words stand apart.
    WIKITEXT("wikitext", doc -> doc.with("text", Detokenizer.wikitext(doc.needText("page"))));

    private static final Template QUERY =
            Template.plain("{{activity_label + ': ' + ctx_a + ' ' + ctx_b.capitalize()}}");
    private static final Template TRIMMED = Template.plain("{{text.strip()}}");
    private static final Pattern BRACKETED = Pattern.compile("\\[.*?\\]", Pattern.UNIX_LINES);

    private final String label;
    private final UnaryOperator<Doc> work;

    Preparation(String label, UnaryOperator<Doc> work) {
        this.label = label;
        this.work = work;
    }

    /// As task files name it.
    String label() {
        return label;
    }

    Doc prepare(Doc doc) {
        return work.apply(doc);
    }

    private static Doc hellaswag(Doc doc) {
        for (String field : List.of("activity_label", "ctx_a", "ctx_b")) {
            doc.needText(field);
        }
        if (!(doc.need("endings") instanceof List<?> endings)) {
            throw doc.wrong("\"endings\" is no list");
        }
        List<Object> choices = new ArrayList<>();
        for (Object ending : endings) {
            if (!(ending instanceof String text)) {
                throw doc.wrong("\"endings\" is no list of texts");
            }
            choices.add(cleaned(text));
        }
        String query = QUERY.render(doc.fields(), doc.fields().toString().length());
        return doc.with("query", cleaned(query)).with("choices", choices);
    }

    private static String cleaned(String text) {
        String trimmed = TRIMMED.render(Map.of("text", text), text.length());
        String sentences = trimmed.replace(" [title]", ". ");
        return BRACKETED.matcher(sentences).replaceAll("").replace("  ", " ");
    }
}
