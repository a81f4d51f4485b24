// SPDX-License-Identifier: Apache-2.0
package io.llmc.cli.report.html;

import com.fasterxml.jackson.databind.node.ObjectNode;
import io.llmc.evaluation.EvalResult;
import io.llmc.evaluation.gate.Verdict;
import io.llmc.evaluation.latency.LatencyResult;
import io.llmc.evaluation.tasks.TasksResult;
import io.llmc.pipeline.Step;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;

/// What was measured, as one page that a browser shows without anything else.
///
/// @param outcomes of the steps that measured the model
/// @param provenance what llmc left in the model's directory; null where it did not make it
/// @param texts of tokens
/// @param yaml the recipe of a provenance, as people write it
public record HtmlReport(
        Path model,
        List<Step.Outcome> outcomes,
        List<Verdict> verdicts,
        ObjectNode provenance,
        TokenTexts texts,
        String yaml,
        String version) {
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
        sections.add(new SummarySection(model, measured, verdicts).html());
        measured.ifPresent(
                r -> {
                    sections.add(new SizeSection(r).html());
                    sections.add(new DivergenceSection(r).html());
                    sections.add(new PlacesSection(r.detail().places(), texts).html());
                });
        tasks.ifPresent(r -> sections.add(new TasksSection(r).html()));
        latency.ifPresent(r -> sections.add(new LatencySection(r).html()));
        if (provenance != null) {
            sections.add(new LayersSection(provenance).html());
        }
        sections.add(new ProvenanceSection(provenance, yaml, version).html());
        return Page.document("llmc eval: " + model, sections);
    }

    private <T> Optional<T> only(Class<T> kind) {
        return outcomes.stream().filter(kind::isInstance).map(kind::cast).findFirst();
    }
}
