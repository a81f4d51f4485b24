// SPDX-License-Identifier: Apache-2.0
package io.llmc.evaluation.tasks;

import io.llmc.evaluation.tasks.Question.Request;
import io.llmc.evaluation.tasks.TaskSpec.Prompt;
import io.llmc.formats.UserException;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.stream.Collectors;

/// Writes a task's items as questions, letter for letter as lm-eval does.
final class Questions {
    private final TaskSpec spec;
    private final Prompt prompt;
    private final List<Doc> solved;

    /// Written once for all items that agree.
    private final Map<Object, String> shots = new HashMap<>();

    /// @param solved items that others may be shown with their answers
    Questions(TaskSpec spec, List<Doc> solved) {
        this.spec = spec;
        this.prompt = spec.prompt();
        this.solved = solved.stream().map(prompt.preparation()::prepare).toList();
    }

    /// @throws io.llmc.formats.FormatException naming the line whose fields are missing or wrong
    Question of(Doc item) {
        Doc doc = prompt.preparation().prepare(item);
        return switch (spec.kind()) {
            case MULTIPLE_CHOICE -> choice(doc);
            case LOGLIKELIHOOD -> {
                Request request =
                        new Request(
                                before(doc) + prompt.text().text(doc), prompt.target().text(doc));
                yield new Question(List.of(request), new Key.Ending());
            }
            case LOGLIKELIHOOD_ROLLING -> document(doc);
        };
    }

    private Question choice(Doc doc) {
        List<String> choices = prompt.choices().texts(doc);
        String before = before(doc);
        Object text = text(doc);
        List<Request> requests = new ArrayList<>();
        if (text instanceof String question) {
            String context = before + question;
            choices.forEach(c -> requests.add(new Request(context, prompt.delimiter() + c)));
        } else {
            String ending = prompt.delimiter() + prompt.target().text(doc);
            choices.forEach(c -> requests.add(new Request(before + c, ending)));
        }
        int[] lengths = choices.stream().mapToInt(c -> c.codePointCount(0, c.length())).toArray();
        return new Question(requests, new Key.Choice(right(doc, text, choices), lengths));
    }

    /// The context; or where choices are contexts, the index of the right one.
    private Object text(Doc doc) {
        Object text = numbered(prompt.text(), doc);
        if (text instanceof String || text instanceof Long) {
            return text;
        }
        throw doc.wrong("%s gives no text, but %s".formatted(prompt.text().key(), text));
    }

    /// A template that gives digits alone gives a number.
    private static Object numbered(Field field, Doc doc) {
        Object value = field.of(doc);
        boolean own = field.source() != null && doc.fields().containsKey(field.source());
        return !own && value instanceof String digits && digits.matches("[0-9]{1,9}")
                ? (Object) Long.valueOf(digits)
                : value;
    }

    private int right(Doc doc, Object text, List<String> choices) {
        Field field = text instanceof String ? prompt.target() : prompt.text();
        Object gold = numbered(field, doc);
        long right =
                switch (gold) {
                    case Long index -> index;
                    case Boolean yes -> yes ? 1 : 0;
                    case String words -> choices.indexOf(words);
                    case null, default -> -1;
                };
        if (right < 0 || right >= choices.size()) {
            throw doc.wrong(
                    "%s gives %s, expected the number of a choice, 0 to %d, or its words"
                            .formatted(
                                    field.key(),
                                    gold instanceof String s ? "\"" + s + "\"" : gold,
                                    choices.size() - 1));
        }
        return (int) right;
    }

    private Question document(Doc doc) {
        String text = prompt.target().text(doc);
        String counted = prompt.counted() == null ? text : prompt.counted().text(doc);
        if (text.isEmpty()) {
            throw doc.wrong("%s gives an empty text".formatted(prompt.target().key()));
        }
        return new Question(
                List.of(new Request("", text)),
                new Key.Document(
                        Words.count(counted), counted.getBytes(StandardCharsets.UTF_8).length));
    }

    /// Description and solved items.
    private String before(Doc doc) {
        String description = prompt.description().text(doc);
        String by = spec.shots().by();
        return spec.shots().count() == 0
                ? description
                : description
                        + shots.computeIfAbsent(
                                by == null ? "" : doc.need(by), group -> shots(doc, by, group));
    }

    private String shots(Doc doc, String by, Object group) {
        int count = spec.shots().count();
        List<Doc> chosen =
                solved.stream()
                        .filter(s -> by == null || group.equals(s.get(by)))
                        .limit(count)
                        .toList();
        if (chosen.size() < count) {
            throw new UserException(
                    "%s has %d items%s, but %d solved ones are to stand before %s of %s"
                            .formatted(
                                    solved.getFirst().file(),
                                    chosen.size(),
                                    by == null ? "" : " whose %s is %s".formatted(by, group),
                                    count,
                                    doc.place(),
                                    doc.file()),
                    "lower {fewshot}");
        }
        return chosen.stream()
                .map(shot -> solved(shot) + spec.shots().delimiter())
                .collect(Collectors.joining());
    }

    private String solved(Doc doc) {
        if (prompt.choices() == null) {
            return prompt.text().text(doc) + prompt.delimiter() + prompt.target().text(doc);
        }
        List<String> choices = prompt.choices().texts(doc);
        Object text = text(doc);
        int right = right(doc, text, choices);
        return text instanceof String question
                ? question + prompt.delimiter() + choices.get(right)
                : choices.get(right) + prompt.delimiter() + prompt.target().text(doc);
    }
}
