// SPDX-License-Identifier: Apache-2.0
package io.llmc.prune.layers;

import io.llmc.formats.HfConfig;
import io.llmc.formats.TensorInfo;
import io.llmc.formats.checkpoint.Checkpoint;
import io.llmc.model.LayerSpec;
import io.llmc.model.ModelSpec;
import io.llmc.model.arch.Architectures;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.SequencedMap;
import java.util.stream.IntStream;

/// The blocks of a model that stay: their tensors, renumbered, under a config of so many layers.
///
/// @param indices ascending
record KeptLayers(List<Integer> indices) {
    /// All of `layers` blocks but some.
    static KeptLayers without(List<Integer> dropped, int layers) {
        return new KeptLayers(
                IntStream.range(0, layers).filter(i -> !dropped.contains(i)).boxed().toList());
    }

    /// The smaller model, its tensors handed on as they are.
    ///
    /// @throws io.llmc.formats.UserException where no reader of its family would load it
    Checkpoint of(Checkpoint source) {
        ModelSpec spec = Architectures.specOf(source);
        SequencedMap<String, TensorInfo> infos = new LinkedHashMap<>();
        Map<String, String> sources = new HashMap<>();
        for (String name : source.names()) {
            String target = renumbered(name, spec.layers());
            if (target != null) {
                TensorInfo info = source.info(name);
                infos.put(target, new TensorInfo(target, info.dtype(), info.shape()));
                sources.put(target, name);
            }
        }
        HfConfig config =
                new LayersConfig(source.config(), spec, indices, infos.sequencedKeySet()).smaller();
        return source.derived(config, infos, (name, base, _) -> base.tensor(sources.get(name)));
    }

    /// The name under which a tensor stays; null where its block goes.
    private String renumbered(String name, List<LayerSpec> layers) {
        for (int i = 0; i < layers.size(); i++) {
            String prefix = layers.get(i).prefix();
            if (name.startsWith(prefix)) {
                int place = indices.indexOf(i);
                return place < 0
                        ? null
                        : layers.get(place).prefix() + name.substring(prefix.length());
            }
        }
        return name;
    }
}
