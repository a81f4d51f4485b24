// SPDX-License-Identifier: Apache-2.0
package io.llmc.distill.training;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import org.knowm.xchart.VectorGraphicsEncoder;
import org.knowm.xchart.VectorGraphicsEncoder.VectorGraphicsFormat;
import org.knowm.xchart.XYChart;
import org.knowm.xchart.XYChartBuilder;
import org.knowm.xchart.style.Styler.LegendPosition;
import org.knowm.xchart.style.markers.SeriesMarkers;

/// The loss over the steps, as a picture.
public final class LossPlot {
    private static final ObjectMapper JSON = new ObjectMapper();

    private LossPlot() {}

    /// @param log one JSON object a step
    /// @param file without `.svg`
    public static void write(List<String> log, Path file) {
        List<Double> steps = new ArrayList<>();
        List<Double> losses = new ArrayList<>();
        List<Double> measured = new ArrayList<>();
        List<Double> held = new ArrayList<>();
        try {
            for (String line : log) {
                JsonNode values = JSON.readTree(line);
                if (values.has("loss")) {
                    steps.add(values.path("step").asDouble());
                    losses.add(values.path("loss").asDouble());
                }
                if (values.has("held_out_loss")) {
                    measured.add(values.path("step").asDouble());
                    held.add(values.path("held_out_loss").asDouble());
                }
            }
            XYChart chart =
                    new XYChartBuilder()
                            .width(720)
                            .height(420)
                            .title("Distillation")
                            .xAxisTitle("step")
                            .yAxisTitle("loss")
                            .build();
            chart.getStyler().setLegendPosition(LegendPosition.InsideNE);
            chart.addSeries("batches", steps, losses).setMarker(SeriesMarkers.NONE);
            if (!held.isEmpty()) {
                chart.addSeries("held out", measured, held).setMarker(SeriesMarkers.CIRCLE);
            }
            VectorGraphicsEncoder.saveVectorGraphic(
                    chart, file.toString(), VectorGraphicsFormat.SVG);
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }
}
