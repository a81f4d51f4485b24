// SPDX-License-Identifier: Apache-2.0
package io.llmc.cli.report.html;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import io.llmc.cli.report.html.HtmlReport.Origin;
import java.util.ArrayList;
import java.util.List;

/// How the model was made, as llmc left it in the model's directory.
record ProvenanceSection(Origin origin) {
    String html() {
        ObjectNode provenance = origin.provenance();
        Page page = new Page();
        if (provenance == null) {
            page.text(
                    "p",
                    "The model's directory holds no llmc.json: llmc did not make it, or it was taken out.");
            return page.text("p class=\"note\"", "Measured by llmc %s.".formatted(origin.version()))
                    .section("Provenance");
        }
        page.text("h3", "Recipe").text("pre", origin.recipe());
        List<List<String>> rows = new ArrayList<>();
        rows.add(List.of("made by", "llmc " + provenance.path("llmc_version").asText()));
        rows.add(List.of("measured by", "llmc " + origin.version()));
        JsonNode data = provenance.path("calibration");
        if (data.isObject()) {
            rows.add(
                    List.of(
                            "calibration",
                            "%s windows of %s tokens, SHA-256 of their ids %s"
                                    .formatted(
                                            data.path("windows").asText(),
                                            data.path("length").asText(),
                                            data.path("ids_sha256").asText())));
        }
        provenance
                .path("input_sha256")
                .properties()
                .forEach(e -> rows.add(List.of(e.getKey(), "SHA-256 " + e.getValue().asText())));
        page.table("ll", List.of("", ""), rows);
        List<List<String>> warnings = new ArrayList<>();
        for (JsonNode module : provenance.path("modules")) {
            module.path("warnings")
                    .forEach(
                            w -> warnings.add(List.of(module.path("module").asText(), w.asText())));
        }
        if (!warnings.isEmpty()) {
            page.text("h3", "Warnings").table("ll", List.of("layer", ""), warnings);
        }
        return page.section("Recipe and provenance");
    }
}
