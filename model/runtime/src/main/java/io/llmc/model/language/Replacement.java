// SPDX-License-Identifier: Apache-2.0
package io.llmc.model.language;

import io.llmc.backend.CompressionOp;
import io.llmc.backend.Desk;
import io.llmc.backend.ForwardOp;
import io.llmc.model.DecoderBlock;
import io.llmc.model.Linear;
import io.llmc.model.Parameters;
import io.llmc.model.structure.CacheSpec;
import io.llmc.model.structure.NormSpec;
import io.llmc.model.structure.ScaleGroup;
import io.llmc.tensor.CacheScheme;
import io.llmc.tensor.DType;
import io.llmc.tensor.InputRounding;
import io.llmc.tensor.Tensor;
import io.llmc.tensor.Weight;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.Collections;
import java.util.HashMap;
import java.util.IdentityHashMap;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.function.IntToDoubleFunction;
import java.util.stream.IntStream;

/// A block's parameters with some of them replaced or added: what becomes of a block whose sizes
/// change.
public final class Replacement implements Parameters {
    private final Path place;
    private final Map<String, Weight> weights = new HashMap<>();
    private final Map<String, InputRounding> roundings = new HashMap<>();
    private final Map<String, Tensor> tensors = new HashMap<>();
    private CacheScheme cache;

    /// Weights that are nobody else's.
    private final Set<Tensor> made = Collections.newSetFromMap(new IdentityHashMap<>());

    /// @param place what to name where a shape is wrong
    public Replacement(DecoderBlock block, Path place) {
        this.place = place;
        for (Linear linear : block.linears()) {
            weights.put(linear.name(), linear.weight());
            roundings.put(linear.name(), linear.rounding());
        }
        tensors.putAll(block.parameters());
        block.stages().stream()
                .flatMap(stage -> stage.cache().stream())
                .forEach(c -> cache = c.scheme());
    }

    /// @param linear without `.weight`
    public void put(String linear, Weight weight) {
        weights.put(linear, weight);
    }

    /// How a layer's inputs are rounded.
    ///
    /// @param linear without `.weight`
    public void put(String linear, InputRounding rounding) {
        roundings.put(linear, rounding);
    }

    /// @param name as in the checkpoint
    public void put(String name, Tensor tensor) {
        tensors.put(name, tensor);
    }

    /// Rounds keys and values of an attention layer.
    ///
    /// @param keys scales, `[1]` or one for each head
    public void cache(CacheSpec spec, CacheScheme scheme, Tensor keys, Tensor values) {
        cache = scheme;
        boolean one = !scheme.byHead();
        put(spec.keyScales(), one ? keys : keys.reshape(spec.heads(), 1, 1));
        put(spec.valueScales(), one ? values : values.reshape(spec.heads(), 1, 1));
    }

    public boolean has(String name) {
        return tensors.containsKey(name);
    }

    /// Multiplies channels where they are made and divides them where they are read: the block
    /// computes the same. Weights become F32, everything else keeps its type; what a norm's type
    /// cannot hold of a factor, its readers make up for.
    ///
    /// @param factors of the channels; none is 0
    /// @param desk receives what changes. What it has received once is changed in its place, so no
    ///   block may have been built of this yet.
    public void rescale(ScaleGroup group, float[] factors, Desk desk) {
        switch (group.source()) {
            case ScaleGroup.Weights(NormSpec norm) -> {
                float[] held = scaleNorm(norm, factors, desk);
                group.readers().forEach(reader -> scaleColumns(reader, c -> 1 / held[c], desk));
            }
            case ScaleGroup.Rows rows -> {
                scaleRows(rows, factors, desk);
                group.readers()
                        .forEach(reader ->
                                scaleColumns(reader, c -> 1 / factors[rows.channel(c)], desk));
            }
        }
    }

    /// @return the factors as the norm's weight has them now
    private float[] scaleNorm(NormSpec norm, float[] factors, Desk desk) {
        String name = norm.name() + ".weight";
        float[] before = floats(tensors.get(name), desk);
        scale(name, norm.offset(), factors, desk);
        float[] after = floats(tensors.get(name), desk);
        float[] held = factors.clone();
        for (int c = 0; c < held.length; c++) {
            float ratio = (after[c] + norm.offset()) / (before[c] + norm.offset());
            held[c] = ratio != 0 && Float.isFinite(1 / ratio) ? ratio : factors[c];
        }
        scale(norm.name() + ".bias", 0, held, desk);
        return held;
    }

    private void scaleRows(ScaleGroup.Rows rows, float[] factors, Desk desk) {
        String linear = rows.rows().linear();
        Tensor w = dense(linear);
        float[] all = new float[(int) w.rows()];
        Arrays.fill(all, 1);
        int[] made = rows.rows().indices(IntStream.range(0, rows.parts()).toArray()).toArray();
        for (int c = 0; c < made.length; c++) {
            all[made[c]] = factors[c];
        }
        Tensor out = mine(w, desk);
        try (Desk own = desk.fresh(4 * w.shape().size() + 8 * w.rows() + 4096)) {
            Tensor wide = own.f32(w.rows(), w.cols());
            own.run(new ForwardOp.Scale(wide, w, 1));
            own.run(new ForwardOp.Zero(out));
            Tensor each = own.ints(IntStream.range(0, all.length).toArray());
            own.run(new ForwardOp.AccumulateRows(out, wide, each, own.floats(all), 1));
        }
        put(linear, new Weight.Dense(out));
        scale(linear + ".bias", 0, all, desk);
    }

    private void scaleColumns(String linear, IntToDoubleFunction factor, Desk desk) {
        Tensor w = dense(linear);
        float[] all = new float[(int) w.cols()];
        for (int c = 0; c < all.length; c++) {
            all[c] = (float) factor.applyAsDouble(c);
        }
        boolean router = !weights.containsKey(linear);
        long bytes = 4L * all.length + (router ? 4 * w.shape().size() : 0) + 1024;
        try (Desk own = desk.fresh(bytes)) {
            Tensor out = router ? own.f32(w.rows(), w.cols()) : mine(w, desk);
            own.run(new CompressionOp.ScaleColumns(out, w, own.floats(all)));
            if (router) {
                put(linear + ".weight", rounded(out, w.dtype(), desk));
            } else {
                put(linear, new Weight.Dense(out));
            }
        }
    }

    private Tensor dense(String linear) {
        if (weight(linear) instanceof Weight.Dense(Tensor values)) {
            return values;
        }
        throw new IllegalStateException(linear + " is packed, and has no channels to scale");
    }

    /// Where to write what becomes of a weight: itself, if it was made here.
    private Tensor mine(Tensor w, Desk desk) {
        if (made.contains(w)) {
            return w;
        }
        Tensor out = desk.f32(w.rows(), w.cols());
        made.add(out);
        return out;
    }

    /// A norm's weight or a bias, if it is there.
    ///
    /// @param offset what the model adds to it
    private void scale(String name, float offset, float[] factors, Desk desk) {
        Tensor old = tensors.get(name);
        if (old == null) {
            return;
        }
        float[] values = floats(old, desk);
        for (int c = 0; c < values.length; c++) {
            values[c] = (values[c] + offset) * factors[c] - offset;
        }
        try (Desk own = desk.fresh(4L * values.length + 1024)) {
            put(name, rounded(own.floats(values), old.dtype(), desk));
        }
    }

    private static float[] floats(Tensor x, Desk desk) {
        try (Desk own = desk.fresh(4 * x.shape().size() + 1024)) {
            return own.backend().floats(rounded(x, DType.F32, own));
        }
    }

    private static Tensor rounded(Tensor x, DType dtype, Desk desk) {
        Tensor out = desk.arena().allocate(dtype, x.shape());
        desk.run(new ForwardOp.Scale(out, x, 1));
        return out;
    }

    @Override
    public Weight weight(String linear) {
        Weight weight = weights.get(linear);
        return weight != null ? weight : new Weight.Dense(tensors.get(linear + ".weight"));
    }

    @Override
    public Optional<InputRounding> rounding(String linear) {
        return Optional.ofNullable(roundings.get(linear));
    }

    @Override
    public Optional<CacheScheme> cache() {
        return Optional.ofNullable(cache);
    }

    @Override
    public Tensor tensor(String name) {
        return tensors.get(name);
    }

    @Override
    public Path place() {
        return place;
    }
}
