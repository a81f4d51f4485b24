// SPDX-License-Identifier: Apache-2.0
package io.llmc.pipeline;

import io.llmc.formats.Checkpoint;
import io.llmc.formats.UserException;
import io.llmc.model.LayerSpec;
import io.llmc.model.ModelSpec;
import io.llmc.tokenizer.CalibrationSpec;
import java.util.Map;
import java.util.stream.Collectors;

/// How much memory a sweep needs outside the Java heap, and whether activations go to disk for it.
///
/// @param bytes at the worst moment
record MemoryPlan(long bytes, boolean spills) {
    /// Rows that move through a block at once; see [HiddenStates].
    private static final long CHUNK_ROWS = 2048;

    /// @param calibration null where nothing calibrates
    /// @param sweep what will be done
    /// @throws UserException where not even spilling keeps the cap
    static MemoryPlan of(
            Checkpoint c,
            ModelSpec spec,
            OutputPlan output,
            Recipe.Sweep sweep,
            CalibrationSpec calibration,
            long cap) {
        long outer =
                c.names().stream()
                        .filter(name ->
                                spec.layers().stream().noneMatch(l -> name.startsWith(l.prefix())))
                        .mapToLong(name -> c.info(name).byteSize())
                        .sum();
        long block = largestBlock(c, spec);
        long rows = calibration == null ? 0 : (long) calibration.samples() * calibration.length();
        long fixed = outer + 2 * block + work(output, sweep, spec, rows);
        long widest = spec.layers().stream().mapToLong(MemoryPlan::width).max().orElse(0);
        if (calibration == null) {
            return new MemoryPlan(fixed + 64 * 4 * (widest + spec.hidden()), false);
        }
        long chunk = Math.min(rows, Math.max(CHUNK_ROWS, calibration.length()));
        long scratch = 4 * chunk * (widest * 4 + spec.hidden() * 8L);
        long states = 4 * rows * (spec.hidden() + kept(spec));
        if (fixed + scratch + states <= cap) {
            return new MemoryPlan(fixed + scratch + states, false);
        }
        long smallest = fixed + scratch + 4 * chunk * (spec.hidden() + kept(spec));
        if (smallest > cap) {
            throw new UserException(
                    "--memory %s is too little: this model and these windows need %s"
                            .formatted(Sizes.format(cap), Sizes.format(smallest)),
                    "raise --memory, or lower --calib-length");
        }
        return new MemoryPlan(smallest, true);
    }

    private static long largestBlock(Checkpoint c, ModelSpec spec) {
        Map<String, Long> blocks =
                spec.layers().stream()
                        .collect(
                                Collectors.toMap(
                                        LayerSpec::prefix,
                                        l ->
                                                c.names().stream()
                                                        .filter(n -> n.startsWith(l.prefix()))
                                                        .mapToLong(n -> c.info(n).byteSize())
                                                        .sum()));
        return blocks.values().stream().mapToLong(Long::longValue).max().orElse(0);
    }

    /// What the passes need for their most demanding layer.
    private static long work(OutputPlan output, Recipe.Sweep sweep, ModelSpec spec, long rows) {
        long layers =
                output.modules().values().stream()
                        .mapToLong(m ->
                                sweep.passes().stream()
                                        .filter(p -> p.targets().selects(m.name()))
                                        .mapToLong(p -> p.workBytes(m.out(), m.in()))
                                        .max()
                                        .orElse(0))
                        .max()
                        .orElse(0);
        long views = sweep.views().stream().mapToLong(v -> v.workBytes(spec, rows)).max().orElse(0);
        return Math.max(layers, views);
    }

    private static long width(LayerSpec layer) {
        long attention = layer.attention().queryWidth() + 2L * layer.attention().keyWidth();
        return Math.max(attention, kept(layer));
    }

    /// Channels a token that stages of any block hand on beside the residual stream.
    static long kept(ModelSpec spec) {
        return spec.layers().stream().mapToLong(MemoryPlan::kept).max().orElse(0);
    }

    private static long kept(LayerSpec layer) {
        long hidden =
                switch (layer.feedForward()) {
                    case LayerSpec.Mlp mlp -> mlp.intermediate();
                    case LayerSpec.Experts e ->
                            (long) e.topK() * e.experts().getFirst().intermediate();
                };
        return Math.max(layer.attention().queryWidth(), hidden);
    }
}
