// SPDX-License-Identifier: Apache-2.0
package io.llmc.quantize.scales;

import io.llmc.model.DecoderBlock;
import io.llmc.model.LayerSpec;
import io.llmc.model.LayerSpec.LinearSpec;
import io.llmc.model.Linear;
import io.llmc.model.ModelSpec;
import io.llmc.model.Stage;
import io.llmc.model.structure.ScaleGroup;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Set;
import java.util.stream.IntStream;

/// The layers of a block that read channels which may be scaled.
///
/// @param layers in the order in which they run; routers are not among them
/// @param channelOf of each of their columns
/// @param from the first stage that has one of them
/// @param to the last stage of the branch that has the last one: what it gives is what all feed
record Readers(ScaleGroup group, List<Linear> layers, int[] channelOf, Stage from, Stage to) {
    /// Those of a block, in the order in which they run.
    static List<Readers> of(DecoderBlock block) {
        List<Readers> all = new ArrayList<>();
        for (ScaleGroup group : block.spec().scaleGroups()) {
            List<Linear> layers =
                    block.linears().stream()
                            .filter(l -> group.readers().contains(l.name()))
                            .toList();
            if (!layers.isEmpty()) {
                int in = Math.toIntExact(layers.getFirst().weight().inFeatures());
                all.add(
                        new Readers(
                                group,
                                layers,
                                channels(group.source(), in),
                                stage(block, layers.getFirst()),
                                branch(block, layers.getLast()).getLast()));
            }
        }
        return all;
    }

    private static int[] channels(ScaleGroup.Source source, int columns) {
        IntStream all = IntStream.range(0, columns);
        return switch (source) {
            case ScaleGroup.Weights _ -> all.toArray();
            case ScaleGroup.Rows rows -> all.map(rows::channel).toArray();
        };
    }

    private static Stage stage(DecoderBlock block, Linear layer) {
        return block.stages().stream()
                .filter(stage -> stage.linears().contains(layer))
                .findFirst()
                .orElseThrow();
    }

    private static List<Stage> branch(DecoderBlock block, Linear layer) {
        return block.branches().stream()
                .filter(stages -> stages.stream().anyMatch(s -> s.linears().contains(layer)))
                .findFirst()
                .orElseThrow();
    }

    boolean byNorm() {
        return group.source() instanceof ScaleGroup.Weights;
    }

    private int channels() {
        return Arrays.stream(channelOf).max().orElse(-1) + 1;
    }

    /// The mean over the columns of each channel.
    double[] means(double[] ofColumns) {
        double[] means = new double[channels()];
        int[] counts = new int[means.length];
        for (int c = 0; c < ofColumns.length; c++) {
            int k = channelOf[c];
            counts[k]++;
            means[k] += (ofColumns[c] - means[k]) / counts[k];
        }
        return means;
    }

    /// The largest of the columns of each channel.
    float[] maxima(float[] ofColumns) {
        float[] maxima = new float[channels()];
        for (int c = 0; c < ofColumns.length; c++) {
            maxima[channelOf[c]] = Math.max(maxima[channelOf[c]], ofColumns[c]);
        }
        return maxima;
    }

    /// Of each column what its channel has.
    float[] columns(float[] ofChannels) {
        float[] columns = new float[channelOf.length];
        for (int c = 0; c < columns.length; c++) {
            columns[c] = ofChannels[channelOf[c]];
        }
        return columns;
    }

    /// What a user should know of layers whose inputs a pass cannot scale.
    static List<String> notes(String pass, ModelSpec spec) {
        Set<String> without = without(spec);
        return without.isEmpty()
                ? List.of()
                : List.of(
                        "%s leaves the inputs of %s as they are: nothing before them takes a scale"
                                .formatted(pass, String.join(", ", without)));
    }

    /// Numbers of blocks and experts are stars in the names.
    private static Set<String> without(ModelSpec spec) {
        Set<String> names = new LinkedHashSet<>();
        for (LayerSpec layer : spec.layers()) {
            List<String> readers =
                    layer.scaleGroups().stream().flatMap(g -> g.readers().stream()).toList();
            layer.linears(spec.hidden()).stream()
                    .map(LinearSpec::name)
                    .filter(name -> !readers.contains(name))
                    .map(name -> name.replaceAll("\\.\\d+\\.", ".*."))
                    .forEach(names::add);
        }
        return names;
    }
}
