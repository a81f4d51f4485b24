// SPDX-License-Identifier: Apache-2.0
package io.llmc.pipeline.generation;

import java.util.List;

/// Ends a text that comes in pieces before the first of some strings, wherever pieces are cut: what
/// may be the beginning of one is held back until it is known.
final class StopStrings {
    private final List<String> stops;
    private String held = "";
    private boolean found;

    /// @param stops none of them empty
    StopStrings(List<String> stops) {
        this.stops = stops;
    }

    /// What is certain to lie before any of the strings.
    String add(String piece) {
        if (found) {
            return "";
        }
        String text = held + piece;
        int end = stops.stream().mapToInt(text::indexOf).filter(i -> i >= 0).min().orElse(-1);
        found = end >= 0;
        if (!found) {
            end = beginning(text);
        }
        held = found ? "" : text.substring(end);
        return text.substring(0, end);
    }

    /// Where the longest end of the text lies that one of the strings begins with.
    private int beginning(String text) {
        int longest = stops.stream().mapToInt(String::length).max().orElse(0);
        for (int from = Math.max(0, text.length() - longest + 1); from < text.length(); from++) {
            String end = text.substring(from);
            if (stops.stream().anyMatch(stop -> stop.startsWith(end))) {
                return from;
            }
        }
        return text.length();
    }

    boolean found() {
        return found;
    }

    /// What was held back, now that nothing follows.
    String end() {
        String rest = held;
        held = "";
        return rest;
    }
}
