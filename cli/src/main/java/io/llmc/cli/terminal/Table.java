// SPDX-License-Identifier: Apache-2.0
package io.llmc.cli.terminal;

import java.util.ArrayList;
import java.util.List;
import java.util.stream.Collectors;

/// Aligned text: columns of words to the left, columns of figures to the right.
public final class Table {
    private final List<List<String>> rows = new ArrayList<>();
    private final String alignment;
    private boolean headed;

    /// @param alignment a letter a column: `l` or `r`
    public Table(String alignment) {
        this.alignment = alignment;
    }

    /// The first row, which names the columns.
    public Table header(Object... cells) {
        headed = true;
        return row(cells);
    }

    public Table row(Object... cells) {
        List<String> row = new ArrayList<>();
        for (Object cell : cells) {
            row.add(cell.toString());
        }
        rows.add(row);
        return this;
    }

    /// A letter a column, as it was made with.
    public String alignment() {
        return alignment;
    }

    /// Whether the first row names the columns.
    public boolean isHeaded() {
        return headed;
    }

    public List<List<String>> rows() {
        return List.copyOf(rows);
    }

    public boolean isEmpty() {
        return rows.isEmpty();
    }

    @Override
    public String toString() {
        StringBuilder text = new StringBuilder();
        for (List<String> row : rows) {
            StringBuilder line = new StringBuilder();
            for (int c = 0; c < row.size(); c++) {
                String cell = row.get(c);
                String space = " ".repeat(width(c) - cell.length());
                line.append(c == 0 ? "" : "  ");
                line.append(alignment.charAt(c) == 'r' ? space + cell : cell + space);
            }
            text.append(line.toString().stripTrailing()).append('\n');
        }
        return text.toString();
    }

    /// Several, with an empty line between two; one without rows is none.
    public static String text(List<Table> tables) {
        return tables.stream()
                .filter(table -> !table.isEmpty())
                .map(Table::toString)
                .collect(Collectors.joining("\n"));
    }

    /// The same as GitHub has it: what markup could be is none.
    public String markdown() {
        int columns = alignment.length();
        StringBuilder text = new StringBuilder();
        if (!headed) {
            text.append("| ".repeat(columns)).append("|\n").append(ruler());
        }
        for (int r = 0; r < rows.size(); r++) {
            for (int c = 0; c < columns; c++) {
                String cell = c < rows.get(r).size() ? rows.get(r).get(c) : "";
                text.append("| ").append(plain(cell.strip())).append(' ');
            }
            text.append("|\n").append(headed && r == 0 ? ruler() : "");
        }
        return text.toString();
    }

    private String ruler() {
        return alignment.replace("l", "|---").replace("r", "|--:") + "|\n";
    }

    /// A text within a line of Markdown.
    public static String plain(String text) {
        return text.replaceAll("\\s+", " ").replaceAll("[\\\\`*_\\[\\]<|~&$@]", "\\\\$0");
    }

    private int width(int column) {
        return rows.stream()
                .filter(row -> row.size() > column)
                .mapToInt(row -> row.get(column).length())
                .max()
                .orElse(0);
    }
}
