// SPDX-License-Identifier: Apache-2.0
package io.llmc.model;

import io.llmc.backend.Backend;
import io.llmc.formats.checkpoint.Checkpoint;
import io.llmc.model.LayerSpec.LinearSpec;
import io.llmc.model.structure.CacheSpec;
import io.llmc.model.structure.NormSpec;
import io.llmc.tensor.Tensor;
import io.llmc.tensor.Weight;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.SequencedMap;

/// Builds blocks from tensors and checks their shapes against the config.
public final class BlockBuilder {
    private final Parameters source;
    private final SequencedMap<String, Tensor> others = new LinkedHashMap<>();

    public BlockBuilder(Parameters source) {
        this.source = source;
    }

    /// Bytes that a device of its own needs for what surrounds the blocks.
    public static long outerBytes(Checkpoint c, ModelSpec spec, Backend backend) {
        if (backend.sharesHostMemory()) {
            return 1 << 12;
        }
        return c.names().stream()
                .filter(name -> spec.layers().stream().noneMatch(l -> name.startsWith(l.prefix())))
                .mapToLong(name -> c.info(name).byteSize() + 256)
                .sum();
    }

    /// What to name in errors.
    Path place() {
        return source.place();
    }

    /// What has been built that is no linear layer's weight.
    public SequencedMap<String, Tensor> others() {
        return others;
    }

    /// Once for every instance.
    public DecoderBlock block(LayerSpec layer, int hidden) {
        List<Branch> branches = new ArrayList<>();
        for (int i = 0; i < layer.branches().size(); i++) {
            BranchSpec spec = layer.branches().get(i);
            branches.add(
                    new Branch(
                            spec,
                            norm(spec.pre(), hidden),
                            spec.body().build(this, hidden),
                            norm(spec.post(), hidden),
                            norm(spec.after(), hidden),
                            spec.scalar() == null ? null : parameter(spec.scalar(), 1),
                            hidden,
                            new Branch.Inputs(
                                    i,
                                    layer.source(i),
                                    layer.saved(i),
                                    i + 1 < layer.branches().size()
                                            ? layer.saved(i + 1)
                                            : List.of())));
        }
        ManyStreams streams = layer.streams() == null ? null : layer.streams().build(this);
        return new DecoderBlock(layer, branches, streams, others);
    }

    /// A linear layer that is never compressed; its weight is among the others.
    Linear router(LinearSpec spec) {
        Linear router = linear(spec);
        if (router.weight() instanceof Weight.Dense(var values)) {
            others.put(spec.name() + ".weight", values);
        }
        return router;
    }

    public List<Linear> linears(List<LinearSpec> specs) {
        return specs.stream().map(this::linear).toList();
    }

    public Linear linear(LinearSpec spec) {
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
        return new Linear(spec.name(), w, bias, source.rounding(spec.name()).orElse(null));
    }

    KvCache cache(CacheSpec spec) {
        return source.cache()
                .map(scheme -> {
                    long[] dims =
                            !scheme.byHead() ? new long[] {1} : new long[] {spec.heads(), 1, 1};
                    Tensor keys = parameter(spec.keyScales(), dims);
                    Tensor values = parameter(spec.valueScales(), dims);
                    return new KvCache(
                            spec,
                            scheme,
                            keys.reshape(keys.shape().size()),
                            values.reshape(values.shape().size()));
                })
                .orElse(new KvCache(spec, null, null, null));
    }

    /// Null for null.
    public Norm norm(NormSpec spec, int channels) {
        if (spec == null) {
            return null;
        }
        return norm(spec, new long[] {channels});
    }

    Norm norm(BodySpec.InnerNorm inner) {
        return norm(inner.norm(), inner.dims());
    }

    private Norm norm(NormSpec spec, long[] dims) {
        return new Norm(
                spec,
                spec.weighted() ? parameter(spec.name() + ".weight", dims) : null,
                spec.biased() ? parameter(spec.name() + ".bias", dims) : null);
    }

    Tensor tensor(BodySpec.InnerTensor spec) {
        return parameter(spec.name(), spec.shape().dims());
    }

    List<Tensor> tensors(List<BodySpec.InnerTensor> specs) {
        return specs.stream().map(t -> parameter(t.name(), t.shape().dims())).toList();
    }

    public Tensor parameter(String name, long... dims) {
        Tensor t = source.tensor(name);
        if (!Arrays.equals(t.shape().dims(), dims)) {
            throw TensorTable.misfit(source.place(), name, t.shape().toString(), "", dims);
        }
        others.put(name, t);
        return t;
    }
}
