// SPDX-License-Identifier: Apache-2.0
package io.llmc.evaluation;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.json.JsonMapper;
import io.llmc.evaluation.EvalResult.Comparison;
import io.llmc.evaluation.kld.KldBase;
import io.llmc.formats.TestFiles;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.SequencedMap;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;

/// The figures of a comparison against those that llama-perplexity prints.
class DriftTest {
    private static final Path ORACLE = TestFiles.shared("oracles/kld");
    private static SequencedMap<String, double[]> ours;

    /// Two base files of one text hold all that a comparison needs.
    @BeforeAll
    static void compareFiles() {
        assumeTrue(Files.exists(ORACLE), "no oracles beside the checkout");
        try (KldBase base = KldBase.open(ORACLE.resolve("f16.kld"));
                KldBase model = KldBase.open(ORACLE.resolve("q4_0.kld"))) {
            int rows = (int) base.shape().rows();
            TokenFigures figures = new TokenFigures(rows, true);
            for (int row = 0; row < rows; row++) {
                base.read(row);
                model.read(row);
                int context = base.shape().context();
                int scored = base.shape().scored();
                int at = row / scored * context + context / 2 + row % scored;
                int next = base.ids()[at + 1];
                figures.losses[row] = model.loss(next);
                figures.originalLosses[row] = base.loss(next);
                float[] logits = new float[base.shape().vocabulary()];
                for (int i = 0; i < logits.length; i++) {
                    logits[i] = -model.loss(i);
                }
                figures.divergences[row] = (float) base.divergence(logits, 0);
                figures.agree(model.best() == base.best());
            }
            ours = named(Perplexity.of(figures.losses), figures.comparison());
        }
    }

    /// Under the names of llama-perplexity, in its order.
    private static SequencedMap<String, double[]> named(Perplexity model, Comparison c) {
        SequencedMap<String, double[]> map = new LinkedHashMap<>();
        PerplexityRatio r = c.ratio();
        map.put("Mean PPL(Q)", new double[] {model.value(), model.valueError()});
        map.put("Mean PPL(base)", new double[] {c.original().value(), c.original().valueError()});
        map.put("Cor(ln(PPL(Q)), ln(PPL(base)))", new double[] {100 * r.correlation()});
        map.put("Mean ln(PPL(Q)/PPL(base))", new double[] {r.log(), r.logError()});
        map.put("Mean PPL(Q)/PPL(base)", new double[] {r.value(), r.error()});
        map.put("Mean PPL(Q)-PPL(base)", new double[] {r.difference(), r.differenceError()});
        Distribution kld = c.drift().divergence();
        map.put("Mean KLD", new double[] {kld.mean(), kld.error()});
        map.put("Maximum KLD", new double[] {kld.max()});
        for (double p : Drift.DIVERGENCE_PERCENTS) {
            map.put(label(p, "KLD"), new double[] {kld.quantile(p / 100)});
        }
        map.put("Minimum KLD", new double[] {kld.min()});
        Distribution change = c.drift().change();
        map.put("Mean \u0394p", new double[] {100 * change.mean(), 100 * change.error()});
        map.put("Maximum \u0394p", new double[] {100 * change.max()});
        for (double p : Drift.CHANGE_PERCENTS) {
            map.put(label(p, "\u0394p"), new double[] {100 * change.quantile(p / 100)});
        }
        map.put("Minimum \u0394p", new double[] {100 * change.min()});
        Drift d = c.drift();
        map.put("RMS \u0394p", new double[] {100 * d.rms(), 100 * d.rmsError()});
        map.put("Same top p", new double[] {100 * d.top1(), 100 * d.top1Error()});
        return map;
    }

    private static String label(double percent, String of) {
        return percent == 50 ? "Median " + of : percent + "% " + of;
    }

    @Test
    void isWhatFollowsFromTheTwoFiles() throws IOException {
        JsonNode expected =
                new JsonMapper()
                        .readTree(ORACLE.resolve("results.json").toFile())
                        .get("statistics_from_the_two_files");
        assertThat(expected.size()).isEqualTo(ours.size());
        expected.properties()
                .forEach(figure -> {
                    double[] found = ours.get(figure.getKey().strip().replaceAll("\\s+", " "));
                    assertThat(found).as(figure.getKey()).hasSize(figure.getValue().size());
                    for (int i = 0; i < found.length; i++) {
                        assertThat(found[i])
                                .as(figure.getKey())
                                .isCloseTo(figure.getValue().get(i).doubleValue(), within(1e-6));
                    }
                });
    }

    /// What llama-perplexity printed with the model's own logits in the place of the second file:
    /// 16 bits of every logarithm are worth a few units of its last digit but one.
    @Test
    void isWhatLlamaPerplexityPrints() throws IOException {
        Pattern number = Pattern.compile("-?\\d+\\.(\\d+)");
        Map<String, List<String>> printed = new LinkedHashMap<>();
        for (String line : Files.readAllLines(ORACLE.resolve("statistics_q4_0.txt"))) {
            int colon = line.lastIndexOf(':');
            if (colon > 0) {
                List<String> numbers = new ArrayList<>();
                Matcher m = number.matcher(line.substring(colon));
                while (m.find()) {
                    numbers.add(m.group());
                }
                printed.put(line.substring(0, colon).strip().replaceAll("\\s+", " "), numbers);
            }
        }
        assertThat(printed.keySet()).containsExactlyElementsOf(ours.keySet());
        printed.forEach((name, numbers) -> {
            assertThat(numbers).as(name).hasSameSizeAs(ours.get(name));
            for (int i = 0; i < numbers.size(); i++) {
                String text = numbers.get(i);
                int digits = text.length() - text.indexOf('.') - 1;
                double bits = digits == 6 ? 2.5e-5 : 1.1 * Math.pow(10, -digits);
                assertThat(ours.get(name)[i])
                        .as(name)
                        .isCloseTo(
                                Double.parseDouble(text),
                                within(name.contains("Mean PPL") ? 4e-4 : bits));
            }
        });
    }
}
