// SPDX-License-Identifier: Apache-2.0
package io.llmc.evaluation.blame;

import io.llmc.evaluation.gate.Gates;
import io.llmc.pipeline.Step;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.SequencedMap;
import java.util.Set;

/// What the parts of a compressed model cost.
///
/// @param by how large the parts are
/// @param windows of the text
/// @param tokens scored
/// @param kld mean divergence of the compressed model from the original, all parts together
/// @param error its standard error
/// @param costs the highest first
public record BlameResult(
        Path model,
        Path original,
        Unit by,
        int windows,
        int tokens,
        double kld,
        double error,
        List<Cost> costs)
        implements Step.Outcome {
    public Advice advice() {
        return Advice.of(costs);
    }

    /// The sum of what the parts cost by themselves.
    public double sum() {
        return costs.stream().mapToDouble(Cost::kld).sum();
    }

    /// Names of the numbers among its figures, those of the dearest part with them.
    static Set<String> names() {
        Cost some = new Cost("", "", 0, 0, 0, 0);
        BlameResult blank =
                new BlameResult(Path.of(""), Path.of(""), Unit.BLOCKS, 0, 0, 0, 0, List.of(some));
        return Gates.numbers(blank.figures()).keySet();
    }

    @Override
    public SequencedMap<String, Object> figures() {
        SequencedMap<String, Object> map = new LinkedHashMap<>();
        map.put("model", model.toString());
        map.put("original", original.toString());
        map.put("blame_by", by == Unit.BLOCKS ? "blocks" : "layers");
        map.put("blame_windows", windows);
        map.put("blame_tokens", tokens);
        map.put("blame_kld", kld);
        map.put("blame_kld_stderr", Cost.finite(error));
        map.put("blame_kld_sum", sum());
        map.put("blame", costs.stream().map(Cost::toMap).toList());
        Advice advice = advice();
        map.put("blame_ignore", advice.patterns());
        map.put("blame_ignore_share", advice.share());
        map.put("blame_ignore_bytes", advice.bytes());
        return map;
    }
}
