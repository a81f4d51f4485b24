// SPDX-License-Identifier: Apache-2.0
package io.llmc.evaluation.tasks;

import io.llmc.formats.FormatException;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.Map;

/// One item of a task's data.
///
/// @param place in the file: `line 3`
/// @param fields as templates see them
record Doc(Path file, String place, Map<String, Object> fields) {
    Object get(String field) {
        return fields.get(field);
    }

    /// @throws FormatException where there is none of this name
    Object need(String field) {
        if (!fields.containsKey(field)) {
            throw wrong("has no \"%s\"%s".formatted(field, others()));
        }
        return fields.get(field);
    }

    /// @throws FormatException where there is no text of this name
    String needText(String field) {
        if (need(field) instanceof String text) {
            return text;
        }
        throw wrong("\"%s\" is no text".formatted(field));
    }

    /// What it has instead of something that is missing.
    String others() {
        return fields.isEmpty() ? "" : "; the item has " + String.join(", ", fields.keySet());
    }

    /// The same with one more field.
    Doc with(String field, Object value) {
        Map<String, Object> more = new LinkedHashMap<>(fields);
        more.put(field, value);
        return new Doc(file, place, more);
    }

    /// The error that names the place.
    FormatException wrong(String what) {
        return new FormatException(file, place + ": " + what);
    }
}
