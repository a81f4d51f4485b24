// SPDX-License-Identifier: Apache-2.0
package io.llmc.cli;

import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import io.llmc.cli.report.RunReport;
import io.llmc.cli.report.html.HtmlReport;
import io.llmc.cli.report.html.HtmlReport.Origin;
import io.llmc.cli.report.html.HtmlReport.TokenTexts;
import io.llmc.evaluation.gate.Verdict;
import io.llmc.formats.Json;
import io.llmc.formats.UserException;
import io.llmc.formats.checkpoint.Checkpoint;
import io.llmc.pipeline.Provenance;
import io.llmc.pipeline.Step;
import io.llmc.tokenizer.Detokenizer;
import io.llmc.tokenizer.Tokenizer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.stream.Collectors;

/// The HTML report of a model, with what its directory says of it.
record ReportPage(Path model, String version) {
    /// What llmc left in the model's directory; null where there is none.
    ///
    /// @throws io.llmc.formats.FormatException where it is no JSON object
    ObjectNode provenance() {
        Path file = model.resolve(Provenance.FILE);
        return Files.isDirectory(model) && Files.exists(file) ? Json.readObject(file) : null;
    }

    String text(List<Step.Outcome> outcomes, List<Verdict> verdicts) {
        ObjectNode provenance = provenance();
        try (Checkpoint c = Checkpoint.inspect(model);
                Tokenizer tokenizer = tokenizer(c)) {
            return new HtmlReport(
                            model,
                            outcomes,
                            outcome -> new RunReport(List.of(outcome)).tables(),
                            verdicts,
                            texts(tokenizer),
                            new Origin(provenance, yaml(provenance), version))
                    .text();
        }
    }

    /// Null where the model has none that llmc reads: then ids stand for themselves.
    @SuppressWarnings("MustBeClosed") // the caller closes it
    private static Tokenizer tokenizer(Checkpoint c) {
        try {
            return Tokenizer.open(c);
        } catch (UserException e) {
            return null;
        }
    }

    private static TokenTexts texts(Tokenizer tokenizer) {
        return new TokenTexts() {
            @Override
            public String before(int[] ids) {
                return tokenizer == null ? numbers(ids) : tokenizer.decode(ids);
            }

            @Override
            public String next(int[] before, int id) {
                String text = tokenizer == null ? "" : new Detokenizer(tokenizer, before).add(id);
                return text.isEmpty() ? numbers(new int[] {id}) : text;
            }
        };
    }

    private static String numbers(int[] ids) {
        return Arrays.stream(ids).mapToObj(id -> "#" + id).collect(Collectors.joining(" "));
    }

    private String yaml(ObjectNode provenance) {
        Map<String, Object> shown = new LinkedHashMap<>();
        if (provenance != null) {
            for (String key : List.of("recipe", "presets")) {
                if (provenance.path(key) instanceof ObjectNode object) {
                    // By way of bytes, which halves of characters do not survive.
                    ObjectNode whole =
                            Json.readObject(model.resolve(Provenance.FILE), Json.compact(object));
                    shown.put(key, new ObjectMapper().convertValue(whole, Map.class));
                }
            }
        }
        return RecipeFile.write(shown);
    }
}
