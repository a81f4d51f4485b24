// SPDX-License-Identifier: Apache-2.0
package io.llmc.cli.report.html;

import com.fasterxml.jackson.databind.node.ObjectNode;
import io.llmc.cli.terminal.Table;
import io.llmc.evaluation.EvalResult;
import io.llmc.evaluation.blame.BlameResult;
import io.llmc.evaluation.gate.Verdict;
import io.llmc.evaluation.latency.LatencyResult;
import io.llmc.evaluation.speculation.SpeculationResult;
import io.llmc.evaluation.tasks.TasksResult;
import io.llmc.pipeline.Step;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.function.Function;

/// What was measured, as one page that a browser shows without anything else.
///
/// @param outcomes of the steps that measured the model
/// @param tables of an outcome, as on the terminal
/// @param texts of tokens
public record HtmlReport(
        Path model,
        List<Step.Outcome> outcomes,
        Function<Step.Outcome, List<Table>> tables,
        List<Verdict> verdicts,
        TokenTexts texts,
        Origin origin) {
    /// How the model was made.
    ///
    /// @param provenance what llmc left in the model's directory; null where it did not make it
    /// @param recipe of the provenance, as people write it
    /// @param version of llmc that measured
    public record Origin(ObjectNode provenance, String recipe, String version) {}

    /// Text of ids behind others.
    public interface TokenTexts {
        String before(int[] ids);

        /// What the text grows by.
        String next(int[] before, int id);
    }

    public String text() {
        Optional<EvalResult> measured = only(EvalResult.class);
        Optional<TasksResult> tasks = only(TasksResult.class);
        Optional<LatencyResult> latency = only(LatencyResult.class);
        List<String> sections = new ArrayList<>();
        sections.add(new SummarySection(model, measured, latency, verdicts).html());
        measured.ifPresent(r -> {
            sections.add(new SizeSection(r).html());
            sections.add(new DivergenceSection(r).html());
            sections.add(new PlacesSection(r.detail().places(), texts).html());
        });
        only(BlameResult.class)
                .ifPresent(r -> sections.add(new BlameSection(r, tables.apply(r)).html()));
        tasks.ifPresent(r -> sections.add(new TasksSection(r).html()));
        latency.ifPresent(r -> sections.add(new LatencySection(r, tables.apply(r)).html()));
        only(SpeculationResult.class).ifPresent(r -> sections.add(speculation(tables.apply(r))));
        if (origin.provenance != null) {
            sections.add(new LayersSection(origin.provenance).html());
        }
        sections.add(new ProvenanceSection(origin).html());
        return Page.document("llmc eval: " + model, sections);
    }

    private static String speculation(List<Table> tables) {
        Page page = new Page();
        tables.forEach(page::table);
        return page.section("Speculative decoding");
    }

    private <T> Optional<T> only(Class<T> kind) {
        return outcomes.stream().filter(kind::isInstance).map(kind::cast).findFirst();
    }
}
