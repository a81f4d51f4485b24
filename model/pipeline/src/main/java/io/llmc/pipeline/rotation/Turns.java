// SPDX-License-Identifier: Apache-2.0
package io.llmc.pipeline.rotation;

import io.llmc.formats.TensorInfo;
import io.llmc.formats.checkpoint.Checkpoint;
import io.llmc.model.BranchSpec;
import io.llmc.model.LayerSpec;
import io.llmc.model.ModelSpec;
import io.llmc.model.structure.MixGroup;
import io.llmc.model.structure.NormSpec;
import io.llmc.model.structure.Streams;
import java.util.HashMap;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.SequencedMap;
import java.util.Set;
import java.util.stream.IntStream;

/// Which side of which layer turns with what, from the structure of a model alone.
final class Turns {
    private final Map<String, Layer> layers = new HashMap<>();
    private final Map<String, NormSpec> norms = new HashMap<>();

    /// Norms with a reader that has no bias.
    private final Set<String> keptBiases = new HashSet<>();

    /// What turns in a matrix of `[out, in]` rows of tokens or of a linear layer.
    ///
    /// @param reads whether its inputs are channels of the stream
    /// @param norm before it; null for none
    /// @param writes whether its outputs are added to the stream
    /// @param heads turns the values of a head, its inputs unless there are `rows`; null for
    ///   nothing
    /// @param rows where parts begin among its outputs that turn with `heads`
    /// @param transposed whether it is stored `[in, out]`
    record Layer(
            String name,
            boolean reads,
            NormSpec norm,
            boolean writes,
            Rotation heads,
            List<Integer> rows,
            boolean transposed) {
        boolean turnsRows() {
            return writes || heads != null;
        }

        Layer reading(NormSpec before) {
            return new Layer(name, true, before, writes, heads, rows, transposed);
        }

        Layer writing() {
            return new Layer(name, reads, norm, true, heads, rows, transposed);
        }

        Layer turning(Rotation r, List<Integer> parts) {
            return new Layer(name, reads, norm, writes, r, parts, transposed);
        }
    }

    private Turns() {}

    /// @param stream whether the stream turns
    /// @param heads what turns the values of each block; empty for nothing
    static Turns of(Checkpoint source, ModelSpec spec, boolean stream, List<Rotation> heads) {
        Turns turns = new Turns();
        for (int i = 0; i < spec.layers().size(); i++) {
            LayerSpec layer = spec.layers().get(i);
            for (BranchSpec branch : layer.branches()) {
                if (stream) {
                    turns.stream(source, branch, spec.inOutLinears());
                }
                if (!heads.isEmpty()) {
                    for (MixGroup group : branch.body().mixGroups()) {
                        turns.heads(group, heads.get(i), spec.inOutLinears());
                    }
                }
            }
        }
        if (stream) {
            NormSpec last = weighted(spec.finalNorm());
            if (last != null) {
                turns.norms.put(last.name(), last);
            }
            turns.read(source, spec.head(), last, false);
            turns.read(source, spec.embedding(), null, false);
            if (spec.positionEmbedding() != null) {
                turns.read(source, spec.positionEmbedding(), null, false);
            }
        }
        return turns;
    }

    /// A norm whose weights move into its readers; null where there are none.
    private static NormSpec weighted(NormSpec norm) {
        return norm == null || !norm.weighted() ? null : norm;
    }

    private void stream(Checkpoint source, BranchSpec branch, boolean transposed) {
        Streams streams = branch.body().streams();
        NormSpec before = weighted(branch.pre());
        if (before != null) {
            norms.put(before.name(), before);
        }
        streams.readers().forEach(name -> read(source, name, before, transposed));
        for (String name : streams.writers()) {
            layers.put(name, layer(name, transposed).writing());
        }
    }

    private void read(Checkpoint source, String name, NormSpec norm, boolean transposed) {
        layers.put(name, layer(name, transposed).reading(norm));
        if (norm != null && !source.has(name + ".bias")) {
            keptBiases.add(norm.name());
        }
    }

    private void heads(MixGroup group, Rotation r, boolean transposed) {
        String maker = group.rows().linear();
        List<Integer> parts =
                IntStream.range(0, group.parts()).mapToObj(group.rows()::start).toList();
        layers.put(maker, layer(maker, transposed).turning(r, parts));
        for (String reader : group.readers()) {
            layers.put(reader, layer(reader, transposed).turning(r, List.of()));
        }
    }

    private Layer layer(String name, boolean transposed) {
        return layers.getOrDefault(
                name, new Layer(name, false, null, false, null, List.of(), transposed));
    }

    static String owner(String tensor) {
        return tensor.substring(0, Math.max(0, tensor.lastIndexOf('.')));
    }

    /// Null for a layer that stays.
    Layer layer(String owner) {
        return layers.get(owner);
    }

    /// Null for what is no norm before a reader of the stream.
    NormSpec norm(String owner) {
        return norms.get(owner);
    }

    /// Whether a norm's bias moves into those of its readers.
    boolean movesBias(NormSpec norm) {
        return norm != null && norm.biased() && !keptBiases.contains(norm.name());
    }

    /// @param stream null where its width stays
    SequencedMap<String, TensorInfo> infos(Checkpoint source, Rotation stream) {
        SequencedMap<String, TensorInfo> all = new LinkedHashMap<>();
        for (String name : source.names()) {
            TensorInfo info = source.info(name);
            String owner = owner(name);
            long[] dims = info.shape().dims();
            Layer layer = layers.get(owner);
            if (stream != null && norms.containsKey(owner)) {
                dims[0] = stream.rows();
            } else if (stream != null && layer != null) {
                if (layer.writes()) {
                    dims[layer.transposed() && dims.length > 1 ? 1 : 0] = stream.rows();
                }
                if (layer.reads() && dims.length > 1) {
                    dims[layer.transposed() ? 0 : 1] = stream.rows();
                }
            }
            all.put(name, TensorInfo.of(name, info.dtype(), dims));
        }
        return all;
    }
}
