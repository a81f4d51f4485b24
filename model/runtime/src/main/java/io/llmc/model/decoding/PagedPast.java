// SPDX-License-Identifier: Apache-2.0
package io.llmc.model.decoding;

import io.llmc.backend.AttentionSpec;
import io.llmc.backend.CacheOp;
import io.llmc.backend.CompressedOp;
import io.llmc.backend.ForwardOp;
import io.llmc.backend.RecurrentOp;
import io.llmc.backend.SparseOp;
import io.llmc.backend.TensorArena;
import io.llmc.model.Forward;
import io.llmc.model.Past;
import io.llmc.model.structure.CacheSpec;
import io.llmc.model.structure.PageSpec;
import io.llmc.model.structure.StateSpec;
import io.llmc.tensor.DType;
import io.llmc.tensor.Shape;
import io.llmc.tensor.Tensor;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.ArrayList;
import java.util.List;

/// The cached tokens of the sequences of a pass.
final class PagedPast implements Past {
    private final PagePool pool;

    /// Rows, keys and table of each sequence, for each kind of layers.
    private final List<List<Span>> spans;

    private record Span(int row, int length, int keys, Tensor table) {
        CacheOp.Run run(int window, int chunk) {
            return new CacheOp.Run(
                    row, new AttentionSpec.Reach(length, keys, window, chunk), table);
        }
    }

    /// Where the states of each sequence lie.
    private final List<Place> places;

    /// @param begin [SequenceState#NOWHERE] for zeros
    /// @param end nowhere where a pass is only planned
    private record Place(int row, int length, int begin, int end) {}

    private PagedPast(PagePool pool, List<List<Span>> spans, List<Place> places) {
        this.pool = pool;
        this.spans = spans;
        this.places = places;
    }

    /// @param chunks whose pages are there
    /// @param arena holds the tables; must outlive the pass
    static PagedPast of(PagePool pool, List<Decoder.Chunk> chunks, TensorArena arena) {
        List<List<Span>> spans = new ArrayList<>();
        for (int kind = 0; kind < pool.kinds().size(); kind++) {
            List<Span> some = new ArrayList<>();
            int row = 0;
            for (Decoder.Chunk c : chunks) {
                int[] pages = c.sequence().table(kind).first(c.end());
                some.add(new Span(row, c.ids().length, c.end(), upload(pool, pages, arena)));
                row += c.ids().length;
            }
            spans.add(some);
        }
        List<Place> places = new ArrayList<>();
        int row = 0;
        for (Decoder.Chunk c : chunks) {
            SequenceState state = c.sequence().state();
            places.add(new Place(row, c.ids().length, state.begin(), state.end()));
            row += c.ids().length;
        }
        return new PagedPast(pool, spans, places);
    }

    private static Tensor upload(PagePool pool, int[] pages, TensorArena arena) {
        Tensor table = arena.allocate(DType.I32, new Shape(pages.length));
        try (Arena host = Arena.ofConfined()) {
            MemorySegment copy = host.allocateFrom(ValueLayout.JAVA_INT, pages);
            pool.backend().upload(table, copy);
        }
        return table;
    }

    /// What a pass over one sequence that fills the cache looks back to.
    ///
    /// @param rows of the pass
    static PagedPast largest(PagePool pool, int rows, TensorArena arena) {
        List<List<Span>> spans = new ArrayList<>();
        int keys = Math.toIntExact(Math.max(rows, pool.settings().tokens()));
        for (int kind = 0; kind < pool.kinds().size(); kind++) {
            Shape shape = new Shape(Math.ceilDiv(keys, CacheSettings.PAGE));
            spans.add(List.of(new Span(0, rows, keys, arena.allocate(DType.I32, shape))));
        }
        int nowhere = SequenceState.NOWHERE;
        return new PagedPast(pool, spans, List.of(new Place(0, rows, nowhere, nowhere)));
    }

    private List<CacheOp.Run> runs(PageSpec pages, int window, int chunk) {
        return spans.get(pool.kept(pages).kind()).stream()
                .map(span -> span.run(window, chunk))
                .toList();
    }

    /// Puts the rows of the pass at their places.
    private CacheOp.Pages stored(Forward f, PageSpec spec, Tensor x, List<CacheOp.Run> runs) {
        CacheOp.Pages pages = pool.kept(spec).pages();
        f.run(new CacheOp.StorePages(pages, x, runs));
        return pages;
    }

    @Override
    public void keep(Forward f, PageSpec pages, Tensor rows) {
        stored(f, pages, rows, runs(pages, 0, 0));
    }

    @Override
    public List<Part> parts() {
        return spans.getFirst().stream()
                .map(span -> new Part(span.row(), span.length(), span.keys()))
                .toList();
    }

    @Override
    public void recall(Forward f, PageSpec pages, Part part, Tensor out) {
        CacheOp.Run run =
                runs(pages, 0, 0).stream()
                        .filter(r -> r.row() == part.row())
                        .findFirst()
                        .orElseThrow();
        f.run(new CacheOp.GatherPages(out, pool.kept(pages).pages(), run));
    }

    @Override
    public void choose(Forward f, PageSpec keys, SparseOp.Choose op) {
        f.run(op.with(stored(f, keys, op.keys())));
    }

    @Override
    public void attend(Forward f, CacheSpec layer, SparseOp.ChosenAttention op) {
        f.run(op.with(stored(f, layer.keys(false), op.k()), stored(f, layer.values(), op.v())));
    }

    @Override
    public void compress(Forward f, PageSpec tokens, CompressedOp.Compress op) {
        f.run(op.with(stored(f, tokens, op.tokens())));
    }

    @Override
    public void choose(Forward f, PageSpec entries, CompressedOp.ChooseEntries op) {
        f.run(op.with(stored(f, entries, op.entries())));
    }

    @Override
    public void attend(
            Forward f, PageSpec keys, PageSpec entries, CompressedOp.CompressedAttention op) {
        f.run(op.with(stored(f, keys, op.keys()), stored(f, entries, op.entries())));
    }

    private SparseOp.Keys stored(Forward f, PageSpec spec, SparseOp.Keys keys) {
        return switch (keys) {
            case SparseOp.Keys.Whole(Tensor x, _) -> {
                List<CacheOp.Run> runs = runs(spec, 0, 0);
                yield new SparseOp.Keys.Paged(stored(f, spec, x, runs), runs);
            }
            case SparseOp.Keys.Paged _ -> throw new IllegalArgumentException("already stored");
        };
    }

    @Override
    public void attend(Forward f, CacheSpec layer, ForwardOp.Attention op) {
        AttentionSpec.Reach reach = op.spec().reach();
        List<CacheOp.Run> runs = runs(layer.values(), reach.window(), reach.chunk());
        f.run(
                new CacheOp.PagedAttention(
                        op.out(),
                        op.q(),
                        stored(f, layer.keys(true), op.k(), runs),
                        stored(f, layer.values(), op.v(), runs),
                        runs,
                        op.sinks(),
                        op.slopes(),
                        op.spec()));
    }

    @Override
    public void resume(Forward f, StateSpec state, RecurrentOp op) {
        f.run(op.with(runs(state)));
    }

    private List<RecurrentOp.Run> runs(StateSpec state) {
        return places.stream()
                .map(p ->
                        new RecurrentOp.Run(p.row, p.length, at(state, p.begin), at(state, p.end)))
                .toList();
    }

    /// Null for nowhere.
    private Tensor at(StateSpec state, int place) {
        return place == SequenceState.NOWHERE ? null : pool.states().at(state, place);
    }
}
