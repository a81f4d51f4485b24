// SPDX-License-Identifier: Apache-2.0
package io.llmc.cli.report.html;

import io.llmc.cli.report.html.HtmlReport.TokenTexts;
import io.llmc.evaluation.EvalDetail.Place;
import java.util.List;

/// The tokens where the model moved furthest, in their text.
record PlacesSection(List<Place> places, TokenTexts texts) {
    String html() {
        if (places.isEmpty()) {
            return "";
        }
        Page page = new Page();
        page.text(
                "p class=\"note\"",
                "Where a prediction moved furthest. Marked is the token that came; beside it, what the original and the model gave it.");
        page.open("div class=\"wide\"").open("table").open("thead").open("tr");
        page.text("th class=\"r\"", "KL, nats")
                .text("th class=\"r\"", "original")
                .text("th class=\"r\"", "model")
                .text("th", "text");
        page.close("tr").close("thead").open("tbody");
        for (Place place : places) {
            page.open("tr")
                    .text("td class=\"r\"", "%.3f".formatted(place.divergence()))
                    .text("td class=\"r\"", "%.1f %%".formatted(100 * place.originalP()))
                    .text("td class=\"r\"", "%.1f %%".formatted(100 * place.p()))
                    .html(text(place))
                    .close("tr");
        }
        return page.close("tbody").close("table").close("div").section("The furthest tokens");
    }

    /// Without a blank between the two that is not in the text.
    private String text(Place place) {
        return "<td class=\"place\">%s<mark>%s</mark></td>\n"
                .formatted(
                        shown(texts.before(place.before())),
                        shown(texts.next(place.before(), place.id())));
    }

    private static String shown(String text) {
        return Markup.escape(text.replace('\n', '\u21b5'));
    }
}
