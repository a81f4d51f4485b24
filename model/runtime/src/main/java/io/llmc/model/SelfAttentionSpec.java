// SPDX-License-Identifier: Apache-2.0
package io.llmc.model;

import io.llmc.model.LayerSpec.LinearSpec;
import io.llmc.model.structure.CacheSpec;
import io.llmc.model.structure.MixGroup;
import io.llmc.model.structure.NormSpec;
import io.llmc.model.structure.PruneGroup;
import io.llmc.model.structure.RopeSpec;
import io.llmc.model.structure.ScaleGroup;
import io.llmc.model.structure.Size;
import io.llmc.model.structure.Span;
import io.llmc.model.structure.Streams;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.function.UnaryOperator;
import java.util.stream.Stream;

/// Causal self-attention.
///
/// @param output name of the output projection
/// @param outputBiased whether it has a bias
/// @param turns null where queries and keys do not turn
/// @param norms null for none
public record SelfAttentionSpec(
        Projections qkv,
        String output,
        boolean outputBiased,
        Heads sizes,
        Scores scores,
        RopeSpec turns,
        HeadNorms norms)
        implements BodySpec {

    /// What makes q, k and v.
    ///
    /// @param names of q, k and v, or of one layer that holds the rows of all
    /// @param order of the rows of that layer
    /// @param biased whether they have biases
    public record Projections(List<String> names, RowOrder order, boolean biased) {
        public static Projections apart(String q, String k, String v, boolean biased) {
            return new Projections(List.of(q, k, v), RowOrder.BY_PROJECTION, biased);
        }

        public static Projections fused(String all, RowOrder order, boolean biased) {
            return new Projections(List.of(all), order, biased);
        }
    }

    /// How the rows of q, k and v lie in a layer that holds all of them.
    public enum RowOrder {
        /// All of q, then all of k, then all of v.
        BY_PROJECTION,

        /// For each KV head its queries, its key, its value.
        BY_KV_HEAD
    }

    /// @param dim channels of a head
    public record Heads(int queries, int keys, int dim) {
        public Heads {
            boolean fits =
                    dim > 0
                            && keys > 0
                            && queries > 0
                            && queries % keys == 0
                            && (long) queries * dim <= Integer.MAX_VALUE / 3;
            if (!fits) {
                throw new IllegalArgumentException(
                        "no attention of %d heads of %d, %d of them with keys"
                                .formatted(queries, dim, keys));
            }
        }
    }

    /// @param window keys that a position sees; 0 for all
    /// @param softcap 0 for none
    public record Scores(float scale, int window, float softcap) {
        public Scores {
            if (!Float.isFinite(scale) || window < 0 || !(softcap >= 0)) {
                throw new IllegalArgumentException(
                        "no scores times %s in a window of %d, capped at %s"
                                .formatted(scale, window, softcap));
            }
        }

        /// Divided by the root of a head's size.
        public static Scores of(Heads heads, int window) {
            return new Scores((float) (1 / Math.sqrt(heads.dim())), window, 0);
        }
    }

    /// Norms over each head, before the rotation.
    public record HeadNorms(NormSpec queries, NormSpec keys) {}

    public SelfAttentionSpec {
        if (turns != null && turns.rotated() > sizes.dim()) {
            throw new IllegalArgumentException("no attention of these sizes: " + output);
        }
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

    public int queryWidth() {
        return heads() * headDim();
    }

    public int keyWidth() {
        return kvHeads() * headDim();
    }

    boolean fused() {
        return projections().size() == 1;
    }

    /// Where the rows of the query heads lie; parts are heads.
    Span queries() {
        return qkv.order() == RowOrder.BY_KV_HEAD
                ? new Span(
                        projections().getFirst(), 0, headDim(), group(), (group() + 2) * headDim())
                : Span.of(projections().getFirst(), 0, headDim());
    }

    /// Where those of the keys lie; parts are KV heads.
    Span keys() {
        return keysOrValues(0);
    }

    Span values() {
        return keysOrValues(1);
    }

    /// @param values 0 for keys, 1 for values
    private Span keysOrValues(int values) {
        if (!fused()) {
            return Span.of(projections().get(1 + values), 0, headDim());
        }
        String all = projections().getFirst();
        return qkv.order() == RowOrder.BY_KV_HEAD
                ? new Span(
                        all,
                        (group() + values) * headDim(),
                        headDim(),
                        1,
                        (group() + 2) * headDim())
                : Span.of(all, queryWidth() + values * keyWidth(), headDim());
    }

    /// q, k and v, or the one layer that holds them.
    List<LinearSpec> projections(int hidden) {
        List<Size> byKeys = List.of(Size.KV_HEADS, Size.HEADS, Size.HEAD_DIM, Size.HIDDEN);
        if (fused()) {
            long rows = queryWidth() + 2L * keyWidth();
            return List.of(
                    new LinearSpec(projections().getFirst(), rows, hidden, qkv.biased(), byKeys));
        }
        List<Size> byQueries = List.of(Size.HEADS, Size.HEAD_DIM, Size.HIDDEN);
        return List.of(
                new LinearSpec(projections().get(0), queryWidth(), hidden, qkv.biased(), byQueries),
                new LinearSpec(projections().get(1), keyWidth(), hidden, qkv.biased(), byKeys),
                new LinearSpec(projections().get(2), keyWidth(), hidden, qkv.biased(), byKeys));
    }

    private LinearSpec output(int hidden) {
        return new LinearSpec(
                output,
                hidden,
                queryWidth(),
                outputBiased,
                List.of(Size.HIDDEN, Size.HEADS, Size.HEAD_DIM));
    }

    @Override
    public List<LinearSpec> linears(int hidden) {
        List<LinearSpec> all = new ArrayList<>(projections(hidden));
        all.add(output(hidden));
        return all;
    }

    @Override
    public List<InnerNorm> innerNorms() {
        return Stream.ofNullable(norms)
                .flatMap(n -> Stream.of(n.queries(), n.keys()))
                .map(n -> new InnerNorm(n, headDim(), Size.HEAD_DIM))
                .toList();
    }

    @Override
    public List<PruneGroup> pruneGroups() {
        Span byKvHead = Span.of(output, 0, group() * headDim());
        Span byHead = Span.of(output, 0, headDim());
        return List.of(
                PruneGroup.of(Size.KV_HEADS, kvHeads(), List.of(keys(), values()), byKvHead),
                PruneGroup.of(Size.HEADS, heads(), List.of(queries()), byHead));
    }

    /// What attends is linear in the values.
    @Override
    public List<ScaleGroup> scaleGroups() {
        return List.of(
                new ScaleGroup(new ScaleGroup.Rows(values(), kvHeads(), group()), List.of(output)));
    }

    @Override
    public List<MixGroup> mixGroups() {
        return List.of(new MixGroup(values(), kvHeads(), List.of(output)));
    }

    @Override
    public Streams streams() {
        return new Streams(projections(), List.of(output));
    }

    @Override
    public List<Joint> joints() {
        return List.of(new Joint(projections(), Optional.empty()));
    }

    @Override
    public long kept() {
        return queryWidth();
    }

    @Override
    public Optional<RopeSpec> rope() {
        return Optional.ofNullable(turns);
    }

    @Override
    public Optional<CacheSpec> cache() {
        String attention = output.substring(0, output.lastIndexOf('.'));
        return Optional.of(new CacheSpec(attention, kvHeads(), headDim()));
    }

    @Override
    public int window() {
        return scores.window();
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
        return "%d heads of %d%s%s".formatted(heads(), headDim(), shared, seen);
    }

    @Override
    public SelfAttentionSpec renamed(UnaryOperator<String> names) {
        return new SelfAttentionSpec(
                new Projections(
                        projections().stream().map(names).toList(), qkv.order(), qkv.biased()),
                names.apply(output),
                outputBiased,
                sizes,
                scores,
                turns,
                norms == null
                        ? null
                        : new HeadNorms(
                                NormSpec.renamed(norms.queries(), names),
                                NormSpec.renamed(norms.keys(), names)));
    }

    @Override
    public Attention build(BlockBuilder from, int hidden) {
        return new Attention(
                this,
                from.linears(projections(hidden)),
                from.norm(norms == null ? null : norms.queries(), headDim()),
                from.norm(norms == null ? null : norms.keys(), headDim()),
                from.cache(cache().orElseThrow()),
                from.linear(output(hidden)));
    }
}
