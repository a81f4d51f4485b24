// SPDX-License-Identifier: Apache-2.0
package io.llmc.model.decoding;

import com.google.errorprone.annotations.MustBeClosed;
import io.llmc.backend.Backend;
import io.llmc.backend.CacheOp;
import io.llmc.backend.ForwardOp;
import io.llmc.backend.TensorArena;
import io.llmc.formats.UserException;
import io.llmc.model.BodySpec;
import io.llmc.model.LayerSpec;
import io.llmc.model.ModelSpec;
import io.llmc.model.structure.PageSpec;
import io.llmc.tensor.DType;
import io.llmc.tensor.Shape;
import io.llmc.tensor.Tensor;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.stream.Stream;

/// The pages of all layers, allocated once. Layers that see as many keys are of one kind: what one
/// of them may forget, all may, so that they share their tables.
final class PagePool implements AutoCloseable {
    /// Alignment and table of a tensor.
    private static final long SLACK = 512;

    private final CacheSettings settings;
    private final Backend backend;
    private final TensorArena arena;
    private final List<Kind> kinds = new ArrayList<>();
    private final Map<String, Kept> kept = new LinkedHashMap<>();
    private final StatePool states;

    /// What one layer keeps of every token.
    ///
    /// @param kind the layer's index in [#kinds]
    record Kept(int kind, PageSpec spec, CacheOp.Pages pages) {}

    /// Free pages, and how many sequences have each of the others.
    static final class Kind {
        private final int window;
        private final int[] owners;
        private final int[] free;
        private int left;

        private Kind(int window, int pages) {
            this.window = window;
            this.owners = new int[pages];
            this.free = new int[pages];
            this.left = pages;
            for (int i = 0; i < pages; i++) {
                // The first ones are taken first.
                free[i] = pages - 1 - i;
            }
        }

        /// Keys that a query sees; 0 for all.
        int window() {
            return window;
        }

        int take() {
            int page = free[--left];
            owners[page] = 1;
            return page;
        }

        void share(int page) {
            owners[page]++;
        }

        boolean shared(int page) {
            return owners[page] > 1;
        }

        void give(int page) {
            if (--owners[page] == 0) {
                free[left++] = page;
            }
        }
    }

    @MustBeClosed
    @SuppressWarnings("MustBeClosed") // closed by close()
    PagePool(ModelSpec spec, CacheSettings settings, Backend backend) {
        this(
                spec,
                settings,
                backend,
                backend.newArena(pageBytes(spec, settings)),
                new StatePool(spec, settings, backend));
    }

    /// @param arena of the pages, which the pool closes
    /// @param states which the pool closes
    @MustBeClosed
    PagePool(
            ModelSpec spec,
            CacheSettings settings,
            Backend backend,
            TensorArena arena,
            StatePool states) {
        this.settings = settings;
        this.states = states;
        this.backend = backend;
        this.arena = arena;
        bodies(spec).forEach(body -> body.pages().forEach(p -> keep(p, body.window(p))));
    }

    private static Stream<BodySpec> bodies(ModelSpec spec) {
        return spec.layers().stream().flatMap(LayerSpec::bodies);
    }

    private void keep(PageSpec spec, int window) {
        int kind = kind(window);
        long blocks = (long) kinds.get(kind).owners.length * spec.heads();
        kept.put(spec.name(), new Kept(kind, spec, pages(blocks, spec.width(), spec.turned())));
    }

    private int kind(int window) {
        for (int i = 0; i < kinds.size(); i++) {
            if (kinds.get(i).window == window) {
                return i;
            }
        }
        kinds.add(new Kind(window, Math.toIntExact(settings.pages(window))));
        return kinds.size() - 1;
    }

    private CacheOp.Pages pages(long blocks, int width, boolean turned) {
        int tokens = CacheSettings.PAGE;
        Tensor data = arena.allocate(settings.type(), new Shape(blocks, (long) width * tokens));
        Tensor scales =
                settings.scaled() ? arena.allocate(DType.F32, new Shape(blocks, tokens)) : null;
        return new CacheOp.Pages(data, scales, tokens, turned);
    }

    /// Bytes of the pages and states of all layers.
    static long bytes(ModelSpec spec, CacheSettings settings) {
        return pageBytes(spec, settings) + StatePool.bytes(spec, settings);
    }

    private static long pageBytes(ModelSpec spec, CacheSettings settings) {
        return bodies(spec)
                .flatMapToLong(body ->
                        body.pages().stream().mapToLong(p -> bytes(p, body.window(p), settings)))
                .sum();
    }

    private static long bytes(PageSpec spec, int window, CacheSettings settings) {
        long blocks = settings.pages(window) * spec.heads();
        long token = settings.type().bytesFor(spec.width()) + (settings.scaled() ? 4 : 0);
        return blocks * CacheSettings.PAGE * token + SLACK;
    }

    Backend backend() {
        return backend;
    }

    CacheSettings settings() {
        return settings;
    }

    /// In the order in which [Sequence#table] counts them.
    List<Kind> kinds() {
        return kinds;
    }

    Kept kept(PageSpec spec) {
        return kept.get(spec.name());
    }

    @MustBeClosed
    Sequence sequence() {
        return new Sequence(
                this,
                kinds.stream().map(PageTable::new).toArray(PageTable[]::new),
                new SequenceState(states),
                0);
    }

    StatePool states() {
        return states;
    }

    /// Pages for what a pass adds to sequences, or none at all, and places for their states.
    ///
    /// @throws UserException where there are too few
    void grow(List<Decoder.Chunk> chunks) {
        for (int k = 0; k < kinds.size(); k++) {
            long missing = 0;
            for (Decoder.Chunk c : chunks) {
                PageTable table = c.sequence().table(k);
                missing += table.missing(c.end()) + (table.sharesLast(c.first()) ? 1 : 0);
            }
            requireFree(kinds.get(k), missing);
        }
        for (Decoder.Chunk c : chunks) {
            for (int k = 0; k < kinds.size(); k++) {
                PageTable table = c.sequence().table(k);
                if (table.sharesLast(c.first())) {
                    int own = kinds.get(k).take();
                    copy(k, table.page(c.first()), own);
                    table.replace(c.first(), own);
                }
                table.grow(c.end());
            }
            c.sequence().state().prepare();
        }
    }

    @MustBeClosed
    Sequence fork(Sequence from, PageTable[] tables) {
        PageTable[] copies = new PageTable[tables.length];
        for (int k = 0; k < tables.length; k++) {
            copies[k] = tables[k].shared();
        }
        return new Sequence(this, copies, from.state().forked(), from.length());
    }

    private void requireFree(Kind kind, long pages) {
        if (pages > kind.left) {
            throw new UserException(
                    "the cache is full: it holds %,d tokens of %d sequences"
                            .formatted(settings.tokens(), settings.sequences()),
                    "give it more tokens, or fewer sequences at a time");
        }
    }

    private void copy(int kind, int from, int to) {
        for (Kept some : kept.values()) {
            if (some.kind == kind) {
                Stream.of(some.pages.data(), some.pages.scales())
                        .filter(Objects::nonNull)
                        .forEach(t -> copy(t, some.spec.heads(), from, to));
            }
        }
    }

    private void copy(Tensor pages, int heads, int from, int to) {
        try (TensorArena scratch = backend.newArena(4L * heads + SLACK);
                Arena host = Arena.ofConfined()) {
            Tensor rows = scratch.allocate(DType.I32, new Shape(heads));
            MemorySegment numbers = host.allocate(4L * heads, 4);
            for (int h = 0; h < heads; h++) {
                numbers.setAtIndex(ValueLayout.JAVA_INT, h, from * heads + h);
            }
            backend.upload(rows, numbers);
            Tensor out = pages.rows((long) to * heads, (to + 1L) * heads);
            backend.run(new ForwardOp.GatherRows(out, pages, rows));
        }
    }

    @Override
    public void close() {
        states.close();
        arena.close();
    }
}
