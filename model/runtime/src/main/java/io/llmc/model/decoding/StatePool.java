// SPDX-License-Identifier: Apache-2.0
package io.llmc.model.decoding;

import com.google.errorprone.annotations.MustBeClosed;
import io.llmc.backend.Backend;
import io.llmc.backend.ForwardOp;
import io.llmc.backend.TensorArena;
import io.llmc.formats.UserException;
import io.llmc.model.LayerSpec;
import io.llmc.model.ModelSpec;
import io.llmc.model.structure.StateSpec;
import io.llmc.tensor.DType;
import io.llmc.tensor.Shape;
import io.llmc.tensor.Tensor;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.stream.Stream;

/// Places for the states of sequences, allocated once: a place has a state of every layer.
final class StatePool implements AutoCloseable {
    /// Alignment and table of a tensor.
    private static final long SLACK = 512;

    private final CacheSettings settings;
    private final Backend backend;
    private final TensorArena arena;

    /// `[places * rows, cols]` of each state.
    private final Map<String, Tensor> states = new LinkedHashMap<>();

    private final int[] free;
    private int left;

    @MustBeClosed
    @SuppressWarnings("MustBeClosed") // closed by close()
    StatePool(ModelSpec spec, CacheSettings settings, Backend backend) {
        this(spec, settings, backend, backend.newArena(bytes(spec, settings)));
    }

    /// @param arena of the states, which the pool closes
    @MustBeClosed
    StatePool(ModelSpec spec, CacheSettings settings, Backend backend, TensorArena arena) {
        this.settings = settings;
        this.backend = backend;
        this.arena = arena;
        int places = places(settings);
        specs(spec)
                .forEach(s ->
                        states.put(
                                s.name(),
                                arena.allocate(DType.F32, new Shape(places * s.rows(), s.cols()))));
        this.left = states.isEmpty() ? 0 : places;
        this.free = new int[left];
        for (int i = 0; i < left; i++) {
            // The first ones are taken first.
            free[i] = left - 1 - i;
        }
    }

    private static Stream<StateSpec> specs(ModelSpec spec) {
        return spec.layers().stream()
                .flatMap(LayerSpec::bodies)
                .flatMap(body -> body.states().stream());
    }

    private static int places(CacheSettings settings) {
        return settings.sequences();
    }

    static long bytes(ModelSpec spec, CacheSettings settings) {
        return specs(spec).mapToLong(s -> places(settings) * s.bytes() + SLACK).sum() + SLACK;
    }

    /// Whether there is anything to keep.
    boolean any() {
        return !states.isEmpty();
    }

    /// @throws UserException where more sequences are open than the settings say
    int take() {
        if (left == 0) {
            throw new UserException(
                    "the cache is full: it holds the states of %d sequences"
                            .formatted(settings.sequences()),
                    "give it more sequences");
        }
        return free[--left];
    }

    void give(int place) {
        free[left++] = place;
    }

    void copy(int from, int to) {
        for (Tensor t : states.values()) {
            backend.run(new ForwardOp.Scale(at(t, to), at(t, from), 1));
        }
    }

    Tensor at(StateSpec state, int place) {
        return at(states.get(state.name()), place);
    }

    private Tensor at(Tensor all, int place) {
        long rows = all.rows() / places(settings);
        return all.rows(place * rows, (place + 1L) * rows);
    }

    @Override
    public void close() {
        arena.close();
    }
}
