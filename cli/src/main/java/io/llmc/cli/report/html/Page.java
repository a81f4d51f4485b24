// SPDX-License-Identifier: Apache-2.0
package io.llmc.cli.report.html;

import io.llmc.cli.terminal.Table;
import java.io.IOException;
import java.io.InputStream;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.util.Collections;
import java.util.List;

/// HTML as it grows: what is text is escaped here, and nowhere else.
final class Page {
    private final StringBuilder out = new StringBuilder();

    /// A whole document.
    static String document(String title, List<String> sections) {
        return """
        <!DOCTYPE html>
        <html lang="en">
        <head>
        <meta charset="utf-8">
        <meta name="viewport" content="width=device-width, initial-scale=1">
        <meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
        <title>%s</title>
        <style>
        %s</style>
        </head>
        <body>
        <main>
        %s</main>
        </body>
        </html>
        """
                .formatted(Markup.escape(title), style(), String.join("", sections));
    }

    private static String style() {
        try (InputStream in = Page.class.getResourceAsStream("report.css")) {
            return new String(in.readAllBytes(), StandardCharsets.UTF_8);
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    Page open(String element) {
        out.append('<').append(element).append(">\n");
        return this;
    }

    Page close(String element) {
        out.append("</").append(element).append(">\n");
        return this;
    }

    /// @param element with its attributes, as in `p class="note"`
    Page text(String element, String text) {
        out.append('<').append(element).append('>').append(Markup.escape(text));
        return close(element.split(" ", 2)[0]);
    }

    /// What is HTML already.
    Page html(String html) {
        out.append(html);
        return this;
    }

    /// A chart with what it shows above it.
    Page figure(String caption, String svg) {
        return open("figure").text("figcaption", caption).html(svg).close("figure");
    }

    /// Coloured marks and what they stand for.
    Page legend(String... kindsAndNames) {
        out.append("<p class=\"legend\">");
        for (int i = 0; i < kindsAndNames.length; i += 2) {
            out.append("<span><i class=\"%s\"></i>".formatted(kindsAndNames[i]))
                    .append(Markup.escape(kindsAndNames[i + 1]))
                    .append("</span>");
        }
        out.append("</p>\n");
        return this;
    }

    /// @param alignment a letter a column: `l` or `r`
    Page table(String alignment, List<String> header, List<List<String>> rows) {
        open("div class=\"wide\"").open("table").open("thead");
        row(alignment, "th", header).close("thead").open("tbody");
        rows.forEach(row -> row(alignment, "td", row));
        return close("tbody").close("table").close("div");
    }

    /// As on the terminal.
    Page table(Table table) {
        List<List<String>> rows = table.rows();
        List<String> header =
                table.isHeaded()
                        ? rows.getFirst()
                        : Collections.nCopies(table.alignment().length(), "");
        return table(
                table.alignment(), header, rows.subList(table.isHeaded() ? 1 : 0, rows.size()));
    }

    private Page row(String alignment, String cell, List<String> cells) {
        out.append("<tr>");
        for (int i = 0; i < cells.size(); i++) {
            String right = alignment.charAt(i) == 'r' ? " class=\"r\"" : "";
            out.append("<%s%s>".formatted(cell, right))
                    .append(Markup.escape(cells.get(i)))
                    .append("</%s>".formatted(cell));
        }
        out.append("</tr>\n");
        return this;
    }

    String section(String title) {
        return "<section>\n<h2>%s</h2>\n%s</section>\n".formatted(Markup.escape(title), out);
    }

    @Override
    public String toString() {
        return out.toString();
    }
}
