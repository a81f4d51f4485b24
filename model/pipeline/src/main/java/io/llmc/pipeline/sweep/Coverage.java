// SPDX-License-Identifier: Apache-2.0
package io.llmc.pipeline.sweep;

import io.llmc.backend.Backend;
import io.llmc.backend.TensorArena;
import io.llmc.formats.checkpoint.TensorReader;
import io.llmc.model.BodySpec;
import io.llmc.model.DecoderBlock;
import io.llmc.model.LayerSpec;
import io.llmc.model.LayerSpec.LinearSpec;
import io.llmc.model.ModelSpec;
import io.llmc.model.Stage;
import io.llmc.model.language.LanguageModel;
import io.llmc.pipeline.Progress;
import io.llmc.pipeline.pass.HiddenStates;
import io.llmc.pipeline.pass.LayerInput;
import io.llmc.tensor.Tensor;
import io.llmc.tokenizer.Windows;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.SequencedMap;

/// What some sequences reach in a model that is as it was: the tokens that each expert gets, and
/// the inputs of layers that no token wakes.
final class Coverage {
    private final ModelSpec spec;
    private final int windowsPerChunk;

    /// Of each chunk of sequences, by expert.
    private final SequencedMap<String, long[]> tokens = new LinkedHashMap<>();

    /// Of each input, by the first of the layers that share it.
    private final SequencedMap<String, boolean[]> awake = new LinkedHashMap<>();

    private Coverage(ModelSpec spec, HiddenStates states) {
        this.spec = spec;
        this.windowsPerChunk = HiddenStates.windowsPerChunk(states.windows().length());
        for (LayerSpec layer : spec.layers()) {
            for (String expert : experts(spec, layer)) {
                tokens.put(expert, new long[states.chunks()]);
            }
        }
    }

    /// Runs the sequences through the model once.
    ///
    /// @param spill directory for activations; null to keep them in memory
    static Coverage of(LanguageModel model, Windows windows, Path spill, Progress progress) {
        int layers = model.spec().layers().size();
        progress.begin("looking at what the calibration text reaches", layers);
        try (HiddenStates states = new HiddenStates(model, windows, spill)) {
            states.embed();
            Coverage coverage = new Coverage(model.spec(), states);
            for (int i = 0; i < layers; i++) {
                coverage.see(model, states, i);
                progress.advance(1, model.spec().layers().get(i).prefix());
            }
            progress.end();
            return coverage;
        }
    }

    @SuppressWarnings("MustBeClosed") // an arena of no bytes on the CPU
    private void see(LanguageModel model, HiddenStates states, int index) {
        Backend backend = model.backend();
        try (TensorReader reader = model.checkpoint().reader(backend.host());
                TensorArena memory = model.newBlockArena(index)) {
            DecoderBlock block = model.block(index, reader, memory);
            states.prepare(block);
            for (Stage stage : block.stages()) {
                states.watch(stage, (input, chunk) -> see(backend, input, chunk));
                states.advance(stage);
            }
        }
    }

    private void see(Backend backend, LayerInput input, int chunk) {
        String layer = input.layers().getFirst().name();
        long[] seen = tokens.get(parent(layer));
        // An expert's last layer reads as many tokens as its first ones.
        if (seen != null && seen[chunk] == 0) {
            seen[chunk] = input.x().rows();
        }
        int width = (int) input.x().cols();
        wake(awake.computeIfAbsent(layer, _ -> new boolean[width]), backend, input.x());
    }

    /// Rows are looked at until every input has been seen awake, which few of them suffice for.
    private static void wake(boolean[] inputs, Backend backend, Tensor x) {
        for (long r = 0; r < x.rows() && asleep(inputs) > 0; r++) {
            float[] row = backend.floats(x.rows(r, r + 1));
            for (int i = 0; i < row.length; i++) {
                inputs[i] |= row[i] != 0;
            }
        }
    }

    private static int asleep(boolean[] inputs) {
        int asleep = 0;
        for (boolean input : inputs) {
            asleep += input ? 0 : 1;
        }
        return asleep;
    }

    /// Whether a model has experts.
    static boolean routes(ModelSpec spec) {
        return spec.layers().stream().anyMatch(layer -> !experts(spec, layer).isEmpty());
    }

    /// Experts by the names that their layers share.
    private static List<String> experts(ModelSpec spec, LayerSpec layer) {
        List<String> experts = new ArrayList<>();
        for (BodySpec body : layer.bodies().toList()) {
            if (body.routed()) {
                body.linears(spec.hidden()).stream()
                        .map(LinearSpec::name)
                        .map(Coverage::parent)
                        .distinct()
                        .forEach(experts::add);
            }
        }
        return experts;
    }

    private static String parent(String name) {
        return name.substring(0, Math.max(0, name.lastIndexOf('.')));
    }

    /// Tokens that each expert got.
    SequencedMap<String, Long> tokens() {
        SequencedMap<String, Long> sums = new LinkedHashMap<>();
        tokens.forEach((expert, counts) -> sums.put(expert, Arrays.stream(counts).sum()));
        return sums;
    }

    /// Chunks of sequences that were looked at.
    int chunks() {
        return tokens.values().stream().mapToInt(counts -> counts.length).max().orElse(0);
    }

    /// Tokens of a chunk that experts get which lack some: of each at most as many as it lacks.
    long gain(int chunk, Map<String, Long> lacking) {
        return lacking.entrySet().stream()
                .mapToLong(e -> Math.min(e.getValue(), tokens.get(e.getKey())[chunk]))
                .sum();
    }

    long tokens(String expert, int chunk) {
        return tokens.get(expert)[chunk];
    }

    /// The windows of a chunk.
    ///
    /// @return first, and the one behind the last
    int[] windows(int chunk, int count) {
        int first = chunk * windowsPerChunk;
        return new int[] {first, Math.min(count, first + windowsPerChunk)};
    }

    /// A table, line by line: experts by block, then layers with inputs that never woke.
    List<String> table() {
        List<String> lines = new ArrayList<>();
        SequencedMap<String, Long> sums = tokens();
        for (LayerSpec layer : spec.layers()) {
            List<String> experts = experts(spec, layer);
            if (!experts.isEmpty()) {
                String fewest = experts.getFirst();
                String most = fewest;
                for (String expert : experts) {
                    fewest = sums.get(expert) < sums.get(fewest) ? expert : fewest;
                    most = sums.get(expert) > sums.get(most) ? expert : most;
                }
                lines.add(
                        "%s: %d experts see %,d (%s) to %,d (%s) tokens"
                                .formatted(
                                        parent(layer.prefix()),
                                        experts.size(),
                                        sums.get(fewest),
                                        last(fewest),
                                        sums.get(most),
                                        last(most)));
            }
        }
        if (awake.values().stream().allMatch(inputs -> asleep(inputs) == 0)) {
            lines.add("every input of the blocks' layers wakes");
        }
        awake.forEach((layer, inputs) -> {
            if (asleep(inputs) > 0) {
                lines.add(
                        "%s: %,d of %,d inputs never wake"
                                .formatted(layer, asleep(inputs), inputs.length));
            }
        });
        return lines;
    }

    private static String last(String name) {
        return name.substring(name.lastIndexOf('.') + 1);
    }
}
