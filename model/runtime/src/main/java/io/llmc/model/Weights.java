// SPDX-License-Identifier: Apache-2.0
package io.llmc.model;

import io.llmc.backend.Backend;
import io.llmc.formats.Checkpoint;
import io.llmc.model.LayerSpec.LinearSpec;
import io.llmc.tensor.Tensor;
import io.llmc.tensor.Weight;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.SequencedMap;

/// Builds layers from tensors and checks their shapes against the config.
final class Weights {
    private final Parameters source;
    private final SequencedMap<String, Tensor> others = new LinkedHashMap<>();

    Weights(Parameters source) {
        this.source = source;
    }

    /// Bytes that a device of its own needs for what surrounds the blocks.
    static long outerBytes(Checkpoint c, ModelSpec spec, Backend backend) {
        if (backend.device().equals("cpu")) {
            return 1 << 12;
        }
        String prefix = spec.layers().getFirst().prefix();
        String blocks = prefix.substring(0, prefix.indexOf('0'));
        return c.names().stream()
                .filter(name -> !name.startsWith(blocks))
                .mapToLong(name -> c.info(name).byteSize() + 256)
                .sum();
    }

    /// What has been built that is no linear layer's weight.
    SequencedMap<String, Tensor> others() {
        return others;
    }

    /// Once for every instance.
    DecoderBlock block(LayerSpec layer, int hidden) {
        List<Stage> attention = attention(layer, hidden).stages();
        List<Stage> feedForward =
                switch (layer.feedForward()) {
                    case LayerSpec.Mlp mlp -> mlp(layer, mlp, hidden).stages();
                    case LayerSpec.Experts experts -> experts(layer, experts, hidden).stages();
                };
        return new DecoderBlock(layer, attention, feedForward, others);
    }

    private Attention attention(LayerSpec layer, int hidden) {
        LayerSpec.AttentionLayer a = layer.attention();
        return new Attention(
                a,
                norm(layer.attentionNorm(), hidden),
                a.projections(hidden).stream().map(this::linear).toList(),
                norm(a.queryNorm(), a.headDim()),
                norm(a.keyNorm(), a.headDim()),
                linear(a.output(hidden)),
                norm(layer.attentionPostNorm(), hidden));
    }

    private Mlp mlp(LayerSpec layer, LayerSpec.Mlp spec, int hidden) {
        return new Mlp(
                spec,
                norm(layer.feedForwardNorm(), hidden),
                spec.inputs(hidden).stream().map(this::linear).toList(),
                linear(spec.down(hidden)),
                norm(layer.feedForwardPostNorm(), hidden));
    }

    private Experts experts(LayerSpec layer, LayerSpec.Experts spec, int hidden) {
        Linear router = linear(spec.router(hidden));
        if (router.weight() instanceof Weight.Dense(var values)) {
            others.put(spec.router() + ".weight", values);
        }
        return new Experts(
                spec,
                norm(layer.feedForwardNorm(), hidden),
                router,
                spec.experts().stream()
                        .map(e ->
                                new Experts.Expert(
                                        e,
                                        e.inputs(hidden).stream().map(this::linear).toList(),
                                        linear(e.down(hidden))))
                        .toList(),
                norm(layer.feedForwardPostNorm(), hidden));
    }

    Linear linear(LinearSpec spec) {
        Weight w = source.weight(spec.name());
        if (w.outFeatures() != spec.out() || w.inFeatures() != spec.in()) {
            throw TensorTable.misfit(
                    source.place(),
                    spec.name(),
                    "[%d, %d]".formatted(w.outFeatures(), w.inFeatures()),
                    "",
                    spec.out(),
                    spec.in());
        }
        Tensor bias = spec.bias() ? parameter(spec.name() + ".bias", spec.out()) : null;
        return new Linear(spec.name(), w, bias);
    }

    /// Null for null.
    Norm norm(NormSpec spec, int channels) {
        if (spec == null) {
            return null;
        }
        return new Norm(
                spec,
                parameter(spec.name() + ".weight", channels),
                spec.bias() ? parameter(spec.name() + ".bias", channels) : null);
    }

    Tensor parameter(String name, long... dims) {
        Tensor t = source.tensor(name);
        if (!Arrays.equals(t.shape().dims(), dims)) {
            throw TensorTable.misfit(source.place(), name, t.shape().toString(), "", dims);
        }
        others.put(name, t);
        return t;
    }
}
