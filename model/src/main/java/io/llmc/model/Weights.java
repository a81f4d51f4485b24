// SPDX-License-Identifier: Apache-2.0
package io.llmc.model;

import io.llmc.backend.Backend;
import io.llmc.backend.TensorArena;
import io.llmc.formats.Checkpoint;
import io.llmc.formats.FormatException;
import io.llmc.formats.TensorReader;
import io.llmc.tensor.Tensor;
import io.llmc.tensor.Weight;
import java.util.List;

/// Builds layers from a checkpoint's tensors and checks their shapes against the config.
///
/// @param inOut linear weights are stored `[in, out]` and turned while they are read
record Weights(TensorReader reader, Backend backend, TensorArena arena, boolean inOut) {

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

    Weights storedOutIn() {
        return new Weights(reader, backend, arena, false);
    }

    DecoderBlock block(LayerSpec layer, int hidden) {
        return new DecoderBlock(
                layer,
                attention(layer, hidden).stages(),
                switch (layer.feedForward()) {
                    case LayerSpec.Mlp mlp -> mlp(layer, mlp, hidden).stages();
                    case LayerSpec.Experts experts -> experts(layer, experts, hidden).stages();
                });
    }

    private Attention attention(LayerSpec layer, int hidden) {
        LayerSpec.AttentionLayer a = layer.attention();
        int q = a.queryWidth();
        int kv = a.keyWidth();
        List<Linear> projections =
                a.projections().size() == 1
                        ? List.of(linear(a.projections().getFirst(), q + 2L * kv, hidden))
                        : List.of(
                                linear(a.projections().get(0), q, hidden),
                                linear(a.projections().get(1), kv, hidden),
                                linear(a.projections().get(2), kv, hidden));
        return new Attention(
                a,
                norm(layer.attentionNorm(), hidden),
                projections,
                norm(a.queryNorm(), a.headDim()),
                norm(a.keyNorm(), a.headDim()),
                linear(a.output(), hidden, q),
                norm(layer.attentionPostNorm(), hidden));
    }

    private Mlp mlp(LayerSpec layer, LayerSpec.Mlp spec, int hidden) {
        return new Mlp(
                spec,
                norm(layer.feedForwardNorm(), hidden),
                mlpInputs(spec, hidden),
                linear(spec.down(), hidden, spec.intermediate()),
                norm(layer.feedForwardPostNorm(), hidden));
    }

    private List<Linear> mlpInputs(LayerSpec.Mlp spec, int hidden) {
        long rows =
                spec.gated() && spec.inputs().size() == 1
                        ? 2L * spec.intermediate()
                        : spec.intermediate();
        return spec.inputs().stream().map(name -> linear(name, rows, hidden)).toList();
    }

    private Experts experts(LayerSpec layer, LayerSpec.Experts spec, int hidden) {
        return new Experts(
                spec,
                norm(layer.feedForwardNorm(), hidden),
                linear(spec.router(), spec.experts().size(), hidden),
                spec.experts().stream()
                        .map(e ->
                                new Experts.Expert(
                                        e,
                                        mlpInputs(e, hidden),
                                        linear(e.down(), hidden, e.intermediate())))
                        .toList(),
                norm(layer.feedForwardPostNorm(), hidden));
    }

    Linear linear(String name, long out, long in) {
        Weight host = reader.weight(name);
        if (inOut && host instanceof Weight.Dense(Tensor values)) {
            host = new Weight.Dense(Transpose.of(values, reader.arena()));
        }
        if (host.outFeatures() != out || host.inFeatures() != in) {
            throw new FormatException(
                    reader.checkpoint().directory(),
                    "%s is [%d, %d], but config.json makes it [%d, %d]; one of the two is from another model"
                            .formatted(name, host.outFeatures(), host.inFeatures(), out, in));
        }
        String bias = name + ".bias";
        return new Linear(
                name,
                backend.adopt(host, arena),
                reader.checkpoint().has(bias) ? parameter(bias, out) : null);
    }

    /// Null for null.
    Norm norm(NormSpec spec, int channels) {
        if (spec == null) {
            return null;
        }
        String bias = spec.name() + ".bias";
        return new Norm(
                spec,
                parameter(spec.name() + ".weight", channels),
                reader.checkpoint().has(bias) ? parameter(bias, channels) : null);
    }

    Tensor parameter(String name, long... dims) {
        Tensor host = reader.tensor(name);
        if (!java.util.Arrays.equals(host.shape().dims(), dims)) {
            throw new FormatException(
                    reader.checkpoint().directory(),
                    "%s is %s, but config.json makes it %s; one of the two is from another model"
                            .formatted(name, host.shape(), java.util.Arrays.toString(dims)));
        }
        return backend.adopt(host, arena);
    }
}
