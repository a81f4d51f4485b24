// SPDX-License-Identifier: Apache-2.0
package io.llmc.model;

import io.llmc.backend.Op;
import io.llmc.model.LayerSpec.LinearSpec;
import io.llmc.model.structure.CacheSpec;
import io.llmc.model.structure.MixGroup;
import io.llmc.model.structure.NormSpec;
import io.llmc.model.structure.PageSpec;
import io.llmc.model.structure.PruneGroup;
import io.llmc.model.structure.RopeSpec;
import io.llmc.model.structure.ScaleGroup;
import io.llmc.model.structure.Size;
import io.llmc.model.structure.Span;
import io.llmc.model.structure.Streams;
import io.llmc.tensor.Shape;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.function.Function;
import java.util.function.UnaryOperator;
import java.util.stream.Stream;

/// Causal self-attention.
///
/// @param output name of the output projection
/// @param outputBiased whether it has a bias
/// @param turns null where queries and keys do not turn
/// @param norms null for none
/// @param gate name of the layer whose sigmoid what attends is multiplied by; null for none. Where
///   it is the one of the queries, each head's queries are followed by its gates
/// @param lent column of the rows between blocks where keys, then values, are left to later blocks;
///   0 where they are not
public record SelfAttentionSpec(
        Projections qkv,
        String output,
        boolean outputBiased,
        Heads sizes,
        Scores scores,
        Turns turns,
        HeadNorms norms,
        String gate,
        int lent)
        implements BodySpec {

    /// What makes q, k and v.
    ///
    /// @param names of q, k and v; of q and k, where values are the keys before their norm and
    ///   rotation; or of one layer that holds the rows of all
    /// @param order of the rows of that layer
    /// @param biased whether they have biases
    /// @param clip most magnitude of what they give; 0 for any
    /// @param valueScale what values are multiplied by
    public record Projections(
            List<String> names, RowOrder order, boolean biased, float clip, float valueScale) {
        public static Projections apart(String q, String k, String v, boolean biased) {
            return new Projections(List.of(q, k, v), RowOrder.BY_PROJECTION, biased, 0, 1);
        }

        public static Projections fused(String all, RowOrder order, boolean biased) {
            return new Projections(List.of(all), order, biased, 0, 1);
        }

        public Projections clippedAt(float most) {
            return new Projections(names, order, biased, most, valueScale);
        }

        public Projections withValuesTimes(float factor) {
            return new Projections(names, order, biased, clip, factor);
        }

        Projections renamed(UnaryOperator<String> to) {
            return new Projections(
                    names.stream().map(to).toList(), order, biased, clip, valueScale);
        }
    }

    /// How the rows of q, k and v lie in a layer that holds all of them.
    public enum RowOrder {
        /// All of q, then all of k, then all of v.
        BY_PROJECTION,

        /// For each KV head its queries, its key, its value.
        BY_KV_HEAD
    }

    /// @param dim channels of a head's queries and keys
    /// @param valueDim those of its values
    public record Heads(int queries, int keys, int dim, int valueDim) {
        public Heads {
            boolean fits =
                    dim > 0
                            && valueDim > 0
                            && keys > 0
                            && queries > 0
                            && queries % keys == 0
                            && (long) queries * Math.max(dim, valueDim) <= Integer.MAX_VALUE / 3;
            if (!fits) {
                throw new IllegalArgumentException(
                        "no attention of %d heads of %d, %d of them with keys"
                                .formatted(queries, dim, keys));
            }
        }

        public Heads(int queries, int keys, int dim) {
            this(queries, keys, dim, dim);
        }
    }

    /// @param window keys that a position sees; 0 for all
    /// @param chunk a position sees keys of its own chunk of so many only; 0 for all
    /// @param softcap 0 for none
    /// @param sinks name of a tensor with a score for each head that has no value; null for none
    /// @param alibi null for none
    /// @param indexer what chooses the keys that a position sees; null for none
    public record Scores(
            float scale,
            int window,
            int chunk,
            float softcap,
            String sinks,
            Alibi alibi,
            IndexerSpec indexer) {
        public Scores {
            boolean plain =
                    window == 0 && chunk == 0 && softcap == 0 && sinks == null && alibi == null;
            if (!Float.isFinite(scale)
                    || window < 0
                    || chunk < 0
                    || !(softcap >= 0)
                    || indexer != null && !plain) {
                throw new IllegalArgumentException(
                        "no scores times %s in a window of %d, capped at %s"
                                .formatted(scale, window, softcap));
            }
        }

        public Scores(float scale, int window, float softcap) {
            this(scale, window, 0, softcap, null, null, null);
        }

        /// Divided by the root of a head's size.
        public static Scores of(Heads heads, int window) {
            return new Scores((float) (1 / Math.sqrt(heads.dim())), window, 0);
        }

        public Scores times(double factor) {
            return new Scores(
                    (float) (scale * factor), window, chunk, softcap, sinks, alibi, indexer);
        }

        public Scores inChunks(int length) {
            return new Scores(scale, window, length, softcap, sinks, alibi, indexer);
        }

        public Scores withSinks(String name) {
            return new Scores(scale, window, chunk, softcap, name, alibi, indexer);
        }

        public Scores with(Alibi slopes) {
            return new Scores(scale, window, chunk, softcap, sinks, slopes, indexer);
        }

        public Scores choosing(IndexerSpec by) {
            return new Scores(scale, window, chunk, softcap, sinks, alibi, by);
        }

        private Scores renamed(UnaryOperator<String> names) {
            return new Scores(
                    scale,
                    window,
                    chunk,
                    softcap,
                    sinks == null ? null : names.apply(sinks),
                    alibi,
                    indexer == null ? null : indexer.renamed(names));
        }
    }

    /// How queries and keys turn.
    public record Turns(RopeSpec queries, RopeSpec keys) {
        /// Alike; null for null.
        public static Turns of(RopeSpec both) {
            return both == null ? null : new Turns(both, both);
        }
    }

    /// Norms of queries and keys.
    ///
    /// @param values null for none
    /// @param afterTurns whether they come behind the rotation
    public record HeadNorms(
            NormSpec queries, NormSpec keys, NormSpec values, Over over, boolean afterTurns) {
        /// Over each head, before the rotation.
        public static HeadNorms of(NormSpec queries, NormSpec keys) {
            return new HeadNorms(queries, keys, null, Over.HEAD, false);
        }

        public HeadNorms over(Over other) {
            return new HeadNorms(queries, keys, values, other, afterTurns);
        }

        public HeadNorms behindTurns() {
            return new HeadNorms(queries, keys, values, over, true);
        }

        public HeadNorms withValues(NormSpec norm) {
            return new HeadNorms(queries, keys, norm, over, afterTurns);
        }

        HeadNorms renamed(UnaryOperator<String> names) {
            return new HeadNorms(
                    NormSpec.renamed(queries, names),
                    NormSpec.renamed(keys, names),
                    NormSpec.renamed(values, names),
                    over,
                    afterTurns);
        }
    }

    /// What a norm runs over.
    public enum Over {
        /// Each head by itself, all with the same weights.
        HEAD,

        /// Each head by itself, with weights of its own.
        EACH_HEAD,

        /// The whole projection.
        PROJECTION
    }

    public SelfAttentionSpec {
        if (turns != null
                && Math.max(turns.queries().rotated(), turns.keys().rotated()) > sizes.dim()) {
            throw new IllegalArgumentException("no attention of these sizes: " + output);
        }
    }

    /// With keys and values of its own.
    public SelfAttentionSpec(
            Projections qkv,
            String output,
            boolean outputBiased,
            Heads sizes,
            Scores scores,
            Turns turns,
            HeadNorms norms,
            String gate) {
        this(qkv, output, outputBiased, sizes, scores, turns, norms, gate, 0);
    }

    /// Without norms and gate.
    public SelfAttentionSpec(
            Projections qkv,
            String output,
            boolean outputBiased,
            Heads sizes,
            Scores scores,
            RopeSpec turns) {
        this(qkv, output, outputBiased, sizes, scores, Turns.of(turns), null, null, 0);
    }

    public SelfAttentionSpec with(Scores other) {
        return new SelfAttentionSpec(
                qkv, output, outputBiased, sizes, other, turns, norms, gate, lent);
    }

    public SelfAttentionSpec with(Projections other) {
        return new SelfAttentionSpec(
                other, output, outputBiased, sizes, scores, turns, norms, gate, lent);
    }

    public SelfAttentionSpec with(HeadNorms other) {
        return new SelfAttentionSpec(
                qkv, output, outputBiased, sizes, scores, turns, other, gate, lent);
    }

    public SelfAttentionSpec with(Turns other) {
        return new SelfAttentionSpec(
                qkv, output, outputBiased, sizes, scores, other, norms, gate, lent);
    }

    public SelfAttentionSpec gatedBy(String name) {
        return new SelfAttentionSpec(
                qkv, output, outputBiased, sizes, scores, turns, norms, name, lent);
    }

    public SelfAttentionSpec lending(int column) {
        return new SelfAttentionSpec(
                qkv, output, outputBiased, sizes, scores, turns, norms, gate, column);
    }

    public int heads() {
        return sizes.queries();
    }

    public int kvHeads() {
        return sizes.keys();
    }

    public int headDim() {
        return sizes.dim();
    }

    /// Query heads of a KV head.
    private int group() {
        return heads() / kvHeads();
    }

    /// Names of q, k and v, or of the one layer that holds them.
    public List<String> projections() {
        return qkv.names();
    }

    public int valueDim() {
        return sizes.valueDim();
    }

    /// Channels of a head that are compared, with what ALiBi adds where it goes with the keys.
    int scoredDim() {
        return headDim() + (scores.alibi() == Alibi.FALCON ? 1 : 0);
    }

    public int queryWidth() {
        return heads() * headDim();
    }

    public int keyWidth() {
        return kvHeads() * headDim();
    }

    public int valueWidth() {
        return kvHeads() * valueDim();
    }

    /// Channels of what attends.
    public int outWidth() {
        return heads() * valueDim();
    }

    boolean fused() {
        return projections().size() == 1;
    }

    /// Whether values are made by the layer of the keys.
    boolean valuesAreKeys() {
        return projections().size() == 2;
    }

    /// Whether the layer of the queries makes the gates, too.
    boolean gatedByQueries() {
        return gate != null && gate.equals(projections().getFirst());
    }

    /// Where the rows of the query heads lie; parts are heads.
    Span queries() {
        if (gatedByQueries()) {
            return new Span(gate, 0, headDim(), 1, headDim() + valueDim());
        }
        return qkv.order() == RowOrder.BY_KV_HEAD
                ? new Span(projections().getFirst(), 0, headDim(), group(), period())
                : Span.of(projections().getFirst(), 0, headDim());
    }

    /// Where those of the gates lie; parts are heads.
    Span gates() {
        return gatedByQueries()
                ? new Span(gate, headDim(), valueDim(), 1, headDim() + valueDim())
                : Span.of(gate, 0, valueDim());
    }

    /// Rows of a KV head and its queries, where they lie together.
    private int period() {
        return (group() + 1) * headDim() + valueDim();
    }

    /// Where those of the keys lie; parts are KV heads.
    Span keys() {
        if (!fused()) {
            return Span.of(projections().get(1), 0, headDim());
        }
        String all = projections().getFirst();
        return qkv.order() == RowOrder.BY_KV_HEAD
                ? new Span(all, group() * headDim(), headDim(), 1, period())
                : Span.of(all, queryWidth(), headDim());
    }

    Span values() {
        if (!fused()) {
            return Span.of(projections().getLast(), 0, valueDim());
        }
        String all = projections().getFirst();
        return qkv.order() == RowOrder.BY_KV_HEAD
                ? new Span(all, (group() + 1) * headDim(), valueDim(), 1, period())
                : Span.of(all, queryWidth() + keyWidth(), valueDim());
    }

    /// q, k and v, or the one layer that holds them; then what gates.
    List<LinearSpec> projections(int hidden) {
        List<Size> byKeys = List.of(Size.KV_HEADS, Size.HEADS, Size.HEAD_DIM, Size.HIDDEN);
        List<Size> byQueries = List.of(Size.HEADS, Size.HEAD_DIM, Size.HIDDEN);
        List<LinearSpec> all = new ArrayList<>();
        if (fused()) {
            long rows = (long) queryWidth() + keyWidth() + valueWidth();
            all.add(new LinearSpec(projections().getFirst(), rows, hidden, qkv.biased(), byKeys));
        } else {
            long rows = queryWidth() + (gatedByQueries() ? (long) outWidth() : 0);
            all.add(
                    new LinearSpec(
                            projections().getFirst(), rows, hidden, qkv.biased(), byQueries));
            all.add(new LinearSpec(projections().get(1), keyWidth(), hidden, qkv.biased(), byKeys));
        }
        if (projections().size() == 3) {
            all.add(
                    new LinearSpec(
                            projections().get(2), valueWidth(), hidden, qkv.biased(), byKeys));
        }
        if (gate != null && !gatedByQueries()) {
            all.add(new LinearSpec(gate, outWidth(), hidden, false, byQueries));
        }
        return all;
    }

    private LinearSpec output(int hidden) {
        return new LinearSpec(
                output,
                hidden,
                outWidth(),
                outputBiased,
                List.of(Size.HIDDEN, Size.HEADS, Size.HEAD_DIM));
    }

    @Override
    public List<LinearSpec> linears(int hidden) {
        List<LinearSpec> all = new ArrayList<>(projections(hidden));
        all.add(output(hidden));
        return all;
    }

    /// The layers of the indexer: they choose what is computed.
    @Override
    public List<LinearSpec> routers(int hidden) {
        return ofIndexer(indexer -> indexer.linears(hidden, 0));
    }

    private <T> List<T> ofIndexer(Function<IndexerSpec, List<T>> part) {
        return scores.indexer() == null ? List.of() : part.apply(scores.indexer());
    }

    @Override
    public List<Class<? extends Op>> special() {
        return ofIndexer(IndexerSpec::operations);
    }

    @Override
    public List<InnerNorm> innerNorms() {
        return Stream.concat(headNorms().stream(), ofIndexer(IndexerSpec::innerNorms).stream())
                .toList();
    }

    private List<InnerNorm> headNorms() {
        if (norms == null) {
            return List.of();
        }
        return Stream.of(
                        inner(norms.queries(), heads(), headDim()),
                        inner(norms.keys(), kvHeads(), headDim()),
                        inner(norms.values(), kvHeads(), valueDim()))
                .filter(n -> n.norm() != null)
                .toList();
    }

    private InnerNorm inner(NormSpec norm, int heads, int dim) {
        return switch (norms.over()) {
            case HEAD -> new InnerNorm(norm, 1, dim, Size.HEAD_DIM);
            case EACH_HEAD -> new InnerNorm(norm, heads, dim, Size.HEAD_DIM);
            case PROJECTION -> new InnerNorm(norm, 1, heads * dim, Size.HEADS);
        };
    }

    @Override
    public List<InnerTensor> innerTensors() {
        return scores.sinks() == null
                ? ofIndexer(IndexerSpec::innerTensors)
                : List.of(new InnerTensor(scores.sinks(), new Shape(heads()), List.of(Size.HEADS)));
    }

    /// What pools keys is no layer.
    @Override
    public boolean passesInput() {
        return scores.indexer() != null && scores.indexer().choice().pooled();
    }

    @Override
    public Optional<String> fixed(Size size) {
        if (size != Size.HEADS && size != Size.KV_HEADS) {
            return Optional.empty();
        }
        if (scores.sinks() != null) {
            return Optional.of("each has an attention sink of its own");
        }
        if (scores.alibi() != null) {
            return Optional.of("the slope of each follows from how many there are");
        }
        if (scores.indexer() != null) {
            return Optional.of("an indexer chooses keys for groups of them");
        }
        if (lent > 0) {
            return Optional.of("later blocks borrow their keys and values");
        }
        return norms == null || norms.over() == Over.HEAD
                ? Optional.empty()
                : Optional.of("a norm over queries and keys has weights of its own for each");
    }

    @Override
    public List<PruneGroup> pruneGroups() {
        if (fixed(Size.HEADS).isPresent()) {
            return List.of();
        }
        Span byKvHead = Span.of(output, 0, group() * valueDim());
        Span byHead = Span.of(output, 0, valueDim());
        List<Span> made = gate == null ? List.of(queries()) : List.of(queries(), gates());
        List<Span> kept = valuesAreKeys() ? List.of(keys()) : List.of(keys(), values());
        return List.of(
                PruneGroup.of(Size.KV_HEADS, kvHeads(), kept, byKvHead),
                PruneGroup.of(Size.HEADS, heads(), made, byHead));
    }

    /// Whether what attends is as the layer of the values makes it, but for a factor.
    private boolean linearInValues() {
        return qkv.clip() == 0 && !valuesAreKeys() && (norms == null || norms.values() == null);
    }

    @Override
    public List<ScaleGroup> scaleGroups() {
        return linearInValues()
                ? List.of(
                        new ScaleGroup(
                                new ScaleGroup.Rows(values(), kvHeads(), group()), List.of(output)))
                : List.of();
    }

    /// A gate multiplies single channels, which cannot be mixed then.
    @Override
    public List<MixGroup> mixGroups() {
        return linearInValues() && gate == null
                ? List.of(new MixGroup(values(), kvHeads(), List.of(output)))
                : List.of();
    }

    /// All layers that read the stream.
    private List<String> readers() {
        List<String> all = new ArrayList<>(projections());
        if (gate != null && !gatedByQueries()) {
            all.add(gate);
        }
        routers(1).forEach(l -> all.add(l.name()));
        return all;
    }

    @Override
    public Streams streams() {
        return new Streams(readers(), List.of(output));
    }

    @Override
    public List<Joint> joints() {
        return List.of(new Joint(projections(), Optional.empty()));
    }

    @Override
    public long kept() {
        return outWidth() + (lent > 0 ? (long) keyWidth() + valueWidth() : 0);
    }

    @Override
    public List<RopeSpec> ropes() {
        return Stream.concat(
                        turns == null ? Stream.of() : Stream.of(turns.queries(), turns.keys()),
                        ofIndexer(i -> i.turns() == null ? List.of() : List.of(i.turns())).stream())
                .toList();
    }

    @Override
    public Optional<CacheSpec> cache() {
        String attention = output.substring(0, output.lastIndexOf('.'));
        return Optional.of(new CacheSpec(attention, kvHeads(), scoredDim(), valueDim()));
    }

    /// The keys of an indexer, too.
    @Override
    public List<PageSpec> pages() {
        CacheSpec kept = cache().orElseThrow();
        List<PageSpec> all =
                new ArrayList<>(List.of(kept.keys(scores.indexer() == null), kept.values()));
        all.addAll(ofIndexer(i -> List.of(i.pages())));
        return all;
    }

    @Override
    public int window() {
        // A chunk is at most a window of its length.
        return scores.window() == 0 ? scores.chunk() : scores.window();
    }

    @Override
    public long scored() {
        return (long) queryWidth() + keyWidth();
    }

    @Override
    public List<String> scoring() {
        return fused() ? projections() : projections().subList(0, 2);
    }

    @Override
    public String role() {
        return "attention";
    }

    @Override
    public String summary() {
        String shared =
                kvHeads() == heads() ? "" : " sharing %d keys and values".formatted(kvHeads());
        String seen = window() == 0 ? "" : ", window of " + window();
        if (scores.chunk() != 0) {
            seen += ", chunks of " + scores.chunk();
        }
        if (scores.indexer() != null) {
            seen += scores.indexer().summary();
        }
        return "%d heads of %d%s%s".formatted(heads(), headDim(), shared, seen);
    }

    @Override
    public SelfAttentionSpec renamed(UnaryOperator<String> names) {
        return new SelfAttentionSpec(
                qkv.renamed(names),
                names.apply(output),
                outputBiased,
                sizes,
                scores.renamed(names),
                turns,
                norms == null ? null : norms.renamed(names),
                gate == null ? null : names.apply(gate),
                lent);
    }

    @Override
    public Attention build(BlockBuilder from, int hidden) {
        return new Attention(
                this,
                from.linears(projections(hidden)),
                headNorms().stream().map(from::norm).toList(),
                scores.sinks() == null ? null : from.parameter(scores.sinks(), heads()),
                scores.indexer() == null ? null : scores.indexer().build(from, hidden, 0),
                from.cache(cache().orElseThrow()),
                from.linear(output(hidden)));
    }
}
