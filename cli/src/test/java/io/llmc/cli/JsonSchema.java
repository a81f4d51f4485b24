// SPDX-License-Identifier: Apache-2.0
package io.llmc.cli;

import com.fasterxml.jackson.databind.JsonNode;
import java.util.ArrayList;
import java.util.List;

/// As much of JSON Schema as docs/eval.schema.json needs; a keyword beyond that is a fault of the
/// schema. Where an object has properties it may have no others: what is not described is found.
final class JsonSchema {
    private final List<String> faults = new ArrayList<>();

    /// What is wrong with a value, one sentence each.
    static List<String> faults(JsonNode schema, JsonNode value) {
        JsonSchema check = new JsonSchema();
        check.check("$", schema, value);
        return check.faults;
    }

    private void check(String at, JsonNode schema, JsonNode value) {
        schema.properties()
                .forEach(keyword -> keyword(at, keyword.getKey(), keyword.getValue(), value));
    }

    private void keyword(String at, String keyword, JsonNode wanted, JsonNode value) {
        switch (keyword) {
            case "$schema", "title", "description" -> {}
            case "type" -> require(at, isOfType(wanted, value), "is no " + wanted + ": " + value);
            case "const" -> require(at, wanted.equals(value), "is " + value + ", not " + wanted);
            case "enum" ->
                    require(
                            at,
                            wanted.valueStream().anyMatch(value::equals),
                            value + " is none of " + wanted);
            case "minimum" ->
                    require(
                            at,
                            !value.isNumber() || value.doubleValue() >= wanted.doubleValue(),
                            value + " is below " + wanted);
            case "maximum" ->
                    require(
                            at,
                            !value.isNumber() || value.doubleValue() <= wanted.doubleValue(),
                            value + " is above " + wanted);
            case "required" ->
                    wanted.forEach(name -> require(at, value.has(name.asText()), "has no " + name));
            case "dependentRequired" ->
                    wanted.properties()
                            .forEach(e -> {
                                if (value.has(e.getKey())) {
                                    keyword(at, "required", e.getValue(), value);
                                }
                            });
            case "properties" ->
                    value.properties()
                            .forEach(e -> {
                                JsonNode inner = wanted.get(e.getKey());
                                String place = at + "." + e.getKey();
                                require(place, inner != null, "is not described");
                                if (inner != null) {
                                    check(place, inner, e.getValue());
                                }
                            });
            case "additionalProperties" -> {
                if (wanted.isObject()) {
                    value.properties()
                            .forEach(e -> check(at + "." + e.getKey(), wanted, e.getValue()));
                }
            }
            case "items" -> {
                for (int i = 0; i < value.size(); i++) {
                    check(at + "[" + i + "]", wanted, value.get(i));
                }
            }
            default -> faults.add(at + ": the schema has an unknown keyword " + keyword);
        }
    }

    private void require(String at, boolean holds, String fault) {
        if (!holds) {
            faults.add(at + " " + fault);
        }
    }

    private static boolean isOfType(JsonNode types, JsonNode value) {
        if (types.isArray()) {
            return types.valueStream().anyMatch(type -> isOfType(type, value));
        }
        return switch (types.asText()) {
            case "null" -> value.isNull();
            case "boolean" -> value.isBoolean();
            case "string" -> value.isTextual();
            case "integer" -> value.isIntegralNumber();
            case "number" -> value.isNumber();
            case "array" -> value.isArray();
            case "object" -> value.isObject();
            default -> throw new IllegalArgumentException(types.asText());
        };
    }
}
