// SPDX-License-Identifier: Apache-2.0
package io.llmc.pipeline.pass;

import com.google.errorprone.annotations.MustBeClosed;
import io.llmc.backend.Backend;
import io.llmc.backend.Runner;
import io.llmc.backend.TensorArena;
import io.llmc.model.ArenaPlan;
import io.llmc.model.DecoderBlock;
import io.llmc.model.Forward;
import io.llmc.model.KvCache;
import io.llmc.model.Linear;
import io.llmc.model.Parameters;
import io.llmc.model.Positions;
import io.llmc.model.Stage;
import io.llmc.model.Tap;
import io.llmc.model.language.LanguageModel;
import io.llmc.model.language.Replacement;
import io.llmc.tensor.CacheScheme;
import io.llmc.tensor.InputRounding;
import io.llmc.tensor.Tensor;
import io.llmc.tensor.Weight;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;

/// One device's part in the passes of [HiddenStates]: memory for a chunk, tables of positions and,
/// on every device but the first, a copy of the block.
///
/// Taps hear of every chunk on the first device, in the order of chunks, whichever device it went
/// through: so all sums are the same as with one device.
final class DeviceShare implements AutoCloseable {
    private final LanguageModel model;
    private final Backend home;
    private final Backend backend;
    private final Runner runner;
    private final TensorArena tables;
    private final Positions positions;
    private final Map<Linear, Weight> copied = new HashMap<>();
    private TensorArena scratch;
    private long scratchBytes;
    private DecoderBlock original;
    private DecoderBlock copy;
    private TensorArena weights;

    @MustBeClosed
    @SuppressWarnings("MustBeClosed") // closed by close()
    DeviceShare(
            LanguageModel model, Backend backend, Runner runner, int length, long scratchBytes) {
        this.model = model;
        this.runner = runner;
        this.home = model.backend();
        this.backend = backend;
        this.tables = backend.newArena(Positions.bytes(model.spec(), length) + 256);
        this.positions = Positions.of(model.spec(), length, backend, tables);
        this.scratchBytes = scratchBytes;
        this.scratch = backend.newArena(scratchBytes);
    }

    Backend backend() {
        return backend;
    }

    Positions positions() {
        return positions;
    }

    long scratchBytes() {
        return scratchBytes;
    }

    @MustBeClosed
    TensorArena scratch() {
        return scratch.scratch();
    }

    Forward forward(TensorArena arena) {
        return new Forward(backend, runner, arena, positions, Tap.NONE, false);
    }

    private boolean isHome() {
        return backend.device().equals(home.device());
    }

    /// Makes room for passes of so many rows through a block, which is the one that stages belong
    /// to from now on.
    @SuppressWarnings("MustBeClosed") // closed by close()
    void prepare(DecoderBlock block, int rows) {
        long needed = ArenaPlan.of(block, rows, model.spec().width(), positions, backend);
        if (needed > scratchBytes) {
            scratch.close();
            scratchBytes = needed;
            scratch = backend.newArena(needed);
        }
        original = block;
        copy = null;
    }

    /// The stage of the same place in this device's block, with the weights that the first device's
    /// has now.
    Stage stage(Stage stage) {
        if (isHome()) {
            return stage;
        }
        if (copy == null) {
            copyBlock();
        }
        Stage mine = copy.stages().get(original.stages().indexOf(stage));
        List<Linear> theirs = stage.linears();
        for (int i = 0; i < theirs.size(); i++) {
            Weight now = theirs.get(i).weight();
            if (!now.equals(copied.put(theirs.get(i), now))) {
                mine.linears().get(i).replace(backend.adopt(now, weights));
            }
        }
        return mine;
    }

    List<Stage> stages(List<Stage> stages) {
        List<Stage> mine = new ArrayList<>();
        stages.forEach(s -> mine.add(stage(s)));
        return mine;
    }

    @SuppressWarnings("MustBeClosed") // closed by the next copy, or by close()
    private void copyBlock() {
        if (weights != null) {
            weights.close();
        }
        Parameters all = new Replacement(original, model.checkpoint().directory());
        // Once as it is, and once as a pass leaves it: never larger than F32.
        long linears =
                original.linears().stream()
                        .mapToLong(
                                l -> 8 * l.weight().outFeatures() * l.weight().inFeatures() + 2048)
                        .sum();
        long others =
                original.parameters().values().stream().mapToLong(t -> t.byteSize() + 256).sum();
        weights = backend.newArena(linears + others + (1 << 16));
        copied.clear();
        original.linears().forEach(l -> copied.put(l, l.weight()));
        copy = model.block(original.spec(), new Copies(all, backend, weights));
    }

    /// The first device's parameters on another.
    private record Copies(Parameters of, Backend backend, TensorArena arena) implements Parameters {
        @Override
        public Weight weight(String linear) {
            return backend.adopt(of.weight(linear), arena);
        }

        @Override
        public Optional<InputRounding> rounding(String linear) {
            return of.rounding(linear).map(r -> r.with(t -> backend.adopt(t, arena)));
        }

        @Override
        public Optional<CacheScheme> cache() {
            return of.cache();
        }

        @Override
        public Tensor tensor(String name) {
            return backend.adopt(of.tensor(name), arena);
        }

        @Override
        public Path place() {
            return of.place();
        }
    }

    /// A tap that hears of the first device's layers, and sees inputs there.
    Tap tap(Stage stage, Tap tap) {
        if (isHome()) {
            return tap;
        }
        Map<String, Linear> byName = new HashMap<>();
        stage.linears().forEach(l -> byName.put(l.name(), l));
        return new Tap() {
            @Override
            public void before(List<Linear> layers, Tensor input) {
                List<Linear> theirs = layers.stream().map(l -> byName.get(l.name())).toList();
                atHome(input, x -> tap.before(theirs, x));
            }

            @Override
            public void routed(Linear down, Tensor hidden, Tensor gates) {
                atHome(hidden, x -> atHome(gates, g -> tap.routed(byName.get(down.name()), x, g)));
            }

            @Override
            public void cached(KvCache cache, Tensor keys, Tensor values) {
                atHome(
                        keys,
                        k -> atHome(values, v -> tap.cached(stage.cache().orElseThrow(), k, v)));
            }
        };
    }

    /// Shows a tensor of this device to somebody on the first.
    void atHome(Tensor mine, java.util.function.Consumer<Tensor> visitor) {
        if (isHome()) {
            visitor.accept(mine);
            return;
        }
        try (TensorArena arena = home.newArena(mine.byteSize() + 256)) {
            visitor.accept(home.adopt(mine, arena));
        }
    }

    @Override
    public void close() {
        scratch.close();
        tables.close();
        if (weights != null) {
            weights.close();
        }
    }
}
