// SPDX-License-Identifier: Apache-2.0
package io.llmc.model;

import io.llmc.backend.Op;
import io.llmc.model.LayerSpec.LinearSpec;
import io.llmc.model.SelfAttentionSpec.Turns;
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
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.function.UnaryOperator;

/// Causal self-attention whose keys and values are made of a few channels a token (MLA: DeepSeek
/// V2, 2024, arXiv 2405.04434). All heads share the part of their keys that turns.
///
/// @param queries what makes queries: rows by head, each `[still, turning]`
/// @param latents what makes, by head, `[still key, value]`; its first layer gives the turning part
///   of the keys behind its rank
/// @param output name of the output projection
/// @param biased whether the layers that read and write the stream have biases, but for queries
///   that are made at once
/// @param scale of scores
/// @param turns null where nothing turns; of queries behind what stays still
/// @param indexer what chooses keys; null for all keys
public record LatentAttentionSpec(
        Factored queries,
        Factored latents,
        String output,
        boolean biased,
        Heads sizes,
        float scale,
        Turns turns,
        IndexerSpec indexer)
        implements BodySpec {

    /// `up(factor * norm(down(x)))`, or `up(x)`.
    ///
    /// @param down null for none
    /// @param norm null for none
    /// @param rank channels between; 0 for none
    public record Factored(String down, NormSpec norm, String up, int rank, float factor) {
        public static Factored whole(String name) {
            return new Factored(null, null, name, 0, 1);
        }

        public static Factored of(String down, NormSpec norm, String up, int rank) {
            return new Factored(down, norm, up, rank, 1);
        }

        public Factored times(double more) {
            return new Factored(down, norm, up, rank, (float) (factor * more));
        }

        Factored renamed(UnaryOperator<String> names) {
            return new Factored(
                    down == null ? null : names.apply(down),
                    NormSpec.renamed(norm, names),
                    names.apply(up),
                    rank,
                    factor);
        }
    }

    /// @param still channels of a head's queries and keys that do not turn
    /// @param turning those that do, or that all heads share; may be 0
    /// @param valueDim channels of a head's values
    public record Heads(int count, int still, int turning, int valueDim) {
        public Heads {
            boolean fits =
                    count > 0
                            && still > 0
                            && turning >= 0
                            && valueDim > 0
                            && (long) count * (still + Math.max(turning, valueDim))
                                    <= Integer.MAX_VALUE;
            if (!fits) {
                throw new IllegalArgumentException(
                        "no attention of %d heads of %d and %d".formatted(count, still, turning));
            }
        }

        /// Channels of a head's queries and keys.
        public int dim() {
            return still + turning;
        }
    }

    public LatentAttentionSpec {
        boolean fits =
                latents.rank() > 0
                        && Float.isFinite(scale)
                        && (turns == null
                                || turns.queries().rotated() == sizes.dim()
                                        && turns.keys().rotated() == sizes.turning());
        if (!fits) {
            throw new IllegalArgumentException("no attention of these sizes: " + output);
        }
    }

    public LatentAttentionSpec choosing(IndexerSpec by) {
        return new LatentAttentionSpec(queries, latents, output, biased, sizes, scale, turns, by);
    }

    private boolean chooses() {
        return indexer != null && indexer.own();
    }

    /// Whether later blocks read its choice.
    boolean leaves() {
        return chooses() && indexer.column() > 0;
    }

    /// The layers of the indexer: they choose what is computed.
    @Override
    public List<LinearSpec> routers(int hidden) {
        return chooses() ? indexer.linears(hidden, queries.rank()) : List.of();
    }

    @Override
    public List<InnerTensor> innerTensors() {
        return chooses() ? indexer.innerTensors() : List.of();
    }

    /// What pools keys is no layer.
    @Override
    public boolean passesInput() {
        return chooses() && indexer.choice().pooled();
    }

    @Override
    public List<Class<? extends Op>> special() {
        return indexer == null ? List.of() : indexer.operations();
    }

    public int heads() {
        return sizes.count();
    }

    /// Channels that are made of the stream for keys and values: the latent ones, then the turning
    /// part of the keys.
    public int latentWidth() {
        return latents.rank() + sizes.turning();
    }

    public int queryWidth() {
        return heads() * sizes.dim();
    }

    /// Channels of what attends.
    public int outWidth() {
        return heads() * sizes.valueDim();
    }

    private boolean ranked() {
        return queries.down() != null;
    }

    /// The layers that read the stream.
    List<LinearSpec> inputs(int hidden) {
        LinearSpec first =
                ranked()
                        ? new LinearSpec(
                                queries.down(),
                                queries.rank(),
                                hidden,
                                biased,
                                List.of(Size.QUERY_RANK, Size.HIDDEN))
                        : new LinearSpec(
                                queries.up(),
                                queryWidth(),
                                hidden,
                                false,
                                List.of(Size.HEADS, Size.HEAD_DIM, Size.HIDDEN));
        return List.of(
                first,
                new LinearSpec(
                        latents.down(),
                        latentWidth(),
                        hidden,
                        biased,
                        List.of(Size.LATENT_RANK, Size.HEAD_DIM, Size.HIDDEN)));
    }

    /// Empty where queries are made of the stream at once.
    Optional<LinearSpec> queryUp() {
        return ranked()
                ? Optional.of(
                        new LinearSpec(
                                queries.up(),
                                queryWidth(),
                                queries.rank(),
                                false,
                                List.of(Size.HEADS, Size.HEAD_DIM, Size.QUERY_RANK)))
                : Optional.empty();
    }

    LinearSpec latentUp() {
        return new LinearSpec(
                latents.up(),
                (long) heads() * (sizes.still() + sizes.valueDim()),
                latents.rank(),
                false,
                List.of(Size.HEADS, Size.HEAD_DIM, Size.LATENT_RANK));
    }

    private LinearSpec output(int hidden) {
        return new LinearSpec(
                output,
                hidden,
                outWidth(),
                biased,
                List.of(Size.HIDDEN, Size.HEADS, Size.HEAD_DIM));
    }

    @Override
    public List<LinearSpec> linears(int hidden) {
        List<LinearSpec> all = new ArrayList<>(inputs(hidden));
        queryUp().ifPresent(all::add);
        all.add(latentUp());
        all.add(output(hidden));
        return all;
    }

    private InnerNorm latentNorm() {
        return new InnerNorm(latents.norm(), 1, latents.rank(), Size.LATENT_RANK);
    }

    private Optional<InnerNorm> queryNorm() {
        return ranked()
                ? Optional.of(new InnerNorm(queries.norm(), 1, queries.rank(), Size.QUERY_RANK))
                : Optional.empty();
    }

    @Override
    public List<InnerNorm> innerNorms() {
        List<InnerNorm> all = new ArrayList<>();
        queryNorm().ifPresent(all::add);
        all.add(latentNorm());
        if (chooses()) {
            all.addAll(indexer.innerNorms());
        }
        return all;
    }

    /// Rows of the values of each head.
    private Span values() {
        int still = sizes.still();
        return new Span(latents.up(), still, sizes.valueDim(), 1, still + sizes.valueDim());
    }

    /// Whole heads: no head shares keys and values, so that there are no KV heads to take out.
    @Override
    public Optional<String> fixed(Size size) {
        return size == Size.HEADS || size == Size.KV_HEADS
                ? Optional.of("all have their keys and values from one latent vector")
                : Optional.empty();
    }

    @Override
    public List<PruneGroup> pruneGroups() {
        return List.of(
                PruneGroup.of(
                        Size.HEADS,
                        heads(),
                        List.of(
                                Span.of(queries.up(), 0, sizes.dim()),
                                Span.of(latents.up(), 0, sizes.still() + sizes.valueDim())),
                        Span.of(output, 0, sizes.valueDim())));
    }

    @Override
    public List<ScaleGroup> scaleGroups() {
        List<ScaleGroup> all = new ArrayList<>();
        if (ranked()) {
            all.add(
                    new ScaleGroup(
                            new ScaleGroup.Weights(queries.norm()),
                            chooses()
                                    ? List.of(queries.up(), indexer.layers().queries())
                                    : List.of(queries.up())));
        }
        all.add(new ScaleGroup(new ScaleGroup.Weights(latents.norm()), List.of(latents.up())));
        all.add(new ScaleGroup(new ScaleGroup.Rows(values(), heads(), 1), List.of(output)));
        return all;
    }

    @Override
    public List<MixGroup> mixGroups() {
        return List.of(new MixGroup(values(), heads(), List.of(output)));
    }

    @Override
    public Streams streams() {
        List<String> readers = new ArrayList<>();
        readers.add(ranked() ? queries.down() : queries.up());
        readers.add(latents.down());
        if (chooses()) {
            readers.add(indexer.layers().keys());
            readers.add(indexer.layers().weights());
        }
        return new Streams(readers, List.of(output));
    }

    /// What reads the stream is one layer in engines, where queries have a rank.
    @Override
    public List<Joint> joints() {
        return ranked()
                ? List.of(new Joint(streams().readers().subList(0, 2), Optional.empty()))
                : List.of();
    }

    @Override
    public long kept() {
        long first = ranked() ? queries.rank() : queryWidth();
        return Math.max(first + latentWidth(), outWidth() + (leaves() ? indexer.width() : 0));
    }

    @Override
    public List<RopeSpec> ropes() {
        List<RopeSpec> all = new ArrayList<>();
        if (turns != null) {
            all.add(turns.queries());
            all.add(turns.keys());
        }
        if (chooses() && indexer.turns() != null) {
            all.add(indexer.turns());
        }
        return all;
    }

    /// What heads share: the latents and the turning part as the keys of one head, the latents as
    /// its values.
    @Override
    public Optional<CacheSpec> cache() {
        String attention = output.substring(0, output.lastIndexOf('.'));
        return Optional.of(new CacheSpec(attention, 1, latentWidth(), latents.rank()));
    }

    /// Rows of a sequence at a time from which on it takes fewer products to make keys and values
    /// of all that is kept than to compare the latents themselves.
    long expandedFrom() {
        long made = sizes.still() + (long) sizes.valueDim();
        long more = 2L * latents.rank() - made;
        return more <= 0 ? Long.MAX_VALUE : Math.ceilDiv(latents.rank() * made, more);
    }

    /// The keys of an indexer, too.
    @Override
    public List<PageSpec> pages() {
        CacheSpec kept = cache().orElseThrow();
        List<PageSpec> all = new ArrayList<>(List.of(kept.keys(indexer == null), kept.values()));
        if (chooses()) {
            all.add(indexer.pages());
        }
        return all;
    }

    @Override
    public long scored() {
        return 2L * queryWidth();
    }

    @Override
    public String role() {
        return "attention";
    }

    @Override
    public String summary() {
        String seen = indexer == null ? "" : indexer.summary();
        return "%d heads of %d over latents of %d%s"
                .formatted(heads(), sizes.dim(), latents.rank(), seen);
    }

    @Override
    public LatentAttentionSpec renamed(UnaryOperator<String> names) {
        return new LatentAttentionSpec(
                queries.renamed(names),
                latents.renamed(names),
                names.apply(output),
                biased,
                sizes,
                scale,
                turns,
                indexer == null ? null : indexer.renamed(names));
    }

    @Override
    public LatentAttention build(BlockBuilder from, int hidden) {
        return new LatentAttention(
                this,
                from.linears(inputs(hidden)),
                queryNorm().map(from::norm).orElse(null),
                from.norm(latentNorm()),
                queryUp().map(from::linear).orElse(null),
                from.linear(latentUp()),
                from.cache(cache().orElseThrow()),
                from.linear(output(hidden)),
                chooses() ? indexer.build(from, hidden, queries.rank()) : null);
    }
}
