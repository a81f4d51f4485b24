// SPDX-License-Identifier: Apache-2.0
package io.llmc.cli.report.html;

import static org.assertj.core.api.Assertions.assertThat;

import com.fasterxml.jackson.databind.node.JsonNodeFactory;
import com.fasterxml.jackson.databind.node.ObjectNode;
import io.llmc.cli.report.html.HtmlReport.Origin;
import io.llmc.cli.terminal.Table;
import io.llmc.evaluation.SizeReport;
import io.llmc.evaluation.latency.LatencyResult;
import io.llmc.evaluation.latency.LatencyResult.Decoding;
import io.llmc.evaluation.latency.LatencyResult.Measured;
import io.llmc.evaluation.latency.LatencyResult.Prompt;
import io.llmc.evaluation.latency.Speedup;
import io.llmc.evaluation.latency.Timing;
import io.llmc.pipeline.plan.Arithmetic;
import io.llmc.pipeline.plan.DeviceSpec;
import java.io.ByteArrayInputStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.OptionalDouble;
import java.util.OptionalLong;
import java.util.regex.Pattern;
import javax.xml.parsers.DocumentBuilderFactory;
import org.junit.jupiter.api.Test;

/// Sections that need no model to be run.
class HtmlReportTest {
    /// Every drawing is well-formed by itself.
    static void requireDrawings(String html, int count) throws Exception {
        List<String> drawings =
                Pattern.compile("(?s)<svg .*?</svg>")
                        .matcher(html)
                        .results()
                        .map(r -> r.group())
                        .toList();
        assertThat(drawings).hasSize(count);
        for (String drawing : drawings) {
            DocumentBuilderFactory.newDefaultInstance()
                    .newDocumentBuilder()
                    .parse(new ByteArrayInputStream(drawing.getBytes(StandardCharsets.UTF_8)));
            assertThat(drawing).doesNotContain("NaN", "Infinity");
        }
    }

    @Test
    void speedsAreBarsInPairs() throws Exception {
        Timing fast =
                new Timing(
                        128,
                        new double[] {1, 1.1, 0.9},
                        new double[0],
                        OptionalDouble.empty(),
                        0.5);
        Timing slow =
                new Timing(
                        128,
                        new double[] {2, 2.2, 1.8},
                        new double[0],
                        OptionalDouble.empty(),
                        0.5);
        Measured none = new Measured(new SizeReport(1, 1, 1), 1);
        LatencyResult result =
                new LatencyResult(
                        Path.of("model"),
                        null,
                        new DeviceSpec("this", "a <machine>", 1, 1, 0, Map.of(Arithmetic.F32, 1.0)),
                        none,
                        none,
                        List.of(new Prompt(128, fast, slow, new Speedup(2, 1.9, 2.1))),
                        List.of(new Decoding(512, 4, fast, slow, new Speedup(2, 1.9, 2.1))),
                        OptionalLong.empty());
        Table table = new Table("lr").header("tokens a second", "model").row("a", "b < c");
        String html = new LatencySection(result, List.of(table)).html();
        requireDrawings(html, 2);
        assertThat(html)
                .contains(
                        "prompt of 128",
                        "512 cached, batch 4",
                        "2.00 x",
                        "a &lt;machine&gt;",
                        "b &lt; c");
    }

    private static ObjectNode provenance(int blocks, String kind) {
        ObjectNode root = JsonNodeFactory.instance.objectNode();
        for (int i = 0; i < blocks; i++) {
            root.withArray("modules")
                    .addObject()
                    .put("module", "model.layers." + i + "." + kind)
                    .put("relative_error", 0.01 * (i + 1));
        }
        return root;
    }

    @Test
    void layersAreARowAKindAndAColumnABlock() throws Exception {
        String few = new LayersSection(provenance(3, "mlp.up_proj")).html();
        requireDrawings(few, 1);
        assertThat(few)
                .contains("block 2, mlp.up_proj: 3 %")
                .containsOnlyOnce(">mlp.up_proj</text>");
        String many = new LayersSection(provenance(80, "mlp.experts.7.w1")).html();
        requireDrawings(many, 1);
        assertThat(many).contains("block 79, mlp.experts.*.w1: 80 %");
    }

    /// A provenance lies in the model's directory, which may come from anywhere.
    @Test
    void whatIsNoProvenanceIsNoReport() {
        ObjectNode root = JsonNodeFactory.instance.objectNode();
        assertThat(new LayersSection(root).html()).isEmpty();
        root.put("modules", "all of them").put("input_sha256", 3).put("calibration", true);
        assertThat(new LayersSection(root).html()).isEmpty();
        assertThat(new ProvenanceSection(new Origin(root, "", "1")).html()).contains("measured by");
        ObjectNode odd = provenance(1, "<b>");
        odd.withArray("modules").add(3).addObject().put("module", "x").put("relative_error", "NaN");
        odd.withArray("modules")
                .addObject()
                .put("module", "model.layers.999999.y")
                .put("relative_error", 0.5);
        assertThat(new LayersSection(odd).html()).contains("&lt;b&gt;").doesNotContain("<b>");
    }

    @Test
    void textIsNoMarkup() {
        assertThat(Markup.escape("<a href=\"x\" id='y'>&\u0000\ud800\ufffe\n"))
                .isEqualTo("&lt;a href=&quot;x&quot; id=&#39;y&#39;&gt;&amp;\ufffd\ufffd\ufffd\n");
    }
}
