// SPDX-License-Identifier: Apache-2.0
package io.llmc.cli.terminal;

import java.util.ArrayList;
import java.util.List;

/// Aligned text: columns of words to the left, columns of figures to the right.
public final class Table {
    private final List<List<String>> rows = new ArrayList<>();
    private final String alignment;

    /// @param alignment a letter a column: `l` or `r`
    public Table(String alignment) {
        this.alignment = alignment;
    }

    public Table row(Object... cells) {
        List<String> row = new ArrayList<>();
        for (Object cell : cells) {
            row.add(cell.toString());
        }
        rows.add(row);
        return this;
    }

    boolean isEmpty() {
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

    private int width(int column) {
        return rows.stream()
                .filter(row -> row.size() > column)
                .mapToInt(row -> row.get(column).length())
                .max()
                .orElse(0);
    }
}
