// SPDX-License-Identifier: Apache-2.0
package io.llmc.model;

import io.llmc.backend.CompressedOp;
import io.llmc.backend.Op;
import io.llmc.model.LayerSpec.LinearSpec;
import io.llmc.model.structure.CacheSpec;
import io.llmc.model.structure.NormSpec;
import io.llmc.model.structure.PageSpec;
import io.llmc.model.structure.RopeSpec;
import io.llmc.model.structure.ScaleGroup;
import io.llmc.model.structure.Size;
import io.llmc.model.structure.Streams;
import io.llmc.tensor.Shape;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.function.UnaryOperator;

/// Attention to a window of tokens and, before it, to keys of several tokens each (DeepSeek V4,
/// 2026). All heads share one key, which is the value, too; its last channels turn, and are turned
/// back behind the sum. What heads give becomes narrow group by group before the output layer.
///
/// @param prefix of the names of what it has
/// @param queryRank channels that queries are made of
/// @param eps of its norms
/// @param turns of a head, behind what stays still
/// @param window tokens that a position sees by themselves, itself among them
/// @param compression null where the window is all
public record CompressedAttentionSpec(
        String prefix,
        Heads sizes,
        int queryRank,
        double eps,
        RopeSpec turns,
        int window,
        Compression compression)
        implements BodySpec {
    /// @param dim channels of a head
    /// @param groups of heads that become narrow together
    /// @param narrow channels that a group becomes
    public record Heads(int count, int dim, int groups, int narrow) {
        public Heads {
            boolean fits =
                    count > 0
                            && dim > 0
                            && narrow > 0
                            && groups > 0
                            && count % groups == 0
                            && Math.max((long) count * dim, (long) groups * narrow)
                                    <= Integer.MAX_VALUE;
            if (!fits) {
                throw new IllegalArgumentException(
                        "no attention of %d heads of %d in %d groups"
                                .formatted(count, dim, groups));
            }
        }

        int width() {
            return count * dim;
        }
    }

    /// Keys of several tokens each.
    ///
    /// @param choice which of them a position sees; null for all
    public record Compression(CompressorSpec keys, Choice choice) {}

    /// The best keys by scores of few heads, which have keys of their own.
    ///
    /// @param prefix of the layers' names
    /// @param heads of its queries
    /// @param most keys that are chosen
    public record Choice(String prefix, int heads, int most, CompressorSpec keys) {
        private String queries() {
            return prefix + "wq_b";
        }

        private String weights() {
            return prefix + "weights_proj";
        }

        /// What makes queries of what the attention's are made of, and weights of heads of the
        /// stream.
        private List<LinearSpec> linears(int hidden, int rank) {
            return List.of(
                    new LinearSpec(
                            queries(),
                            (long) heads * keys.dim(),
                            rank,
                            false,
                            List.of(Size.QUERY_RANK)),
                    new LinearSpec(weights(), heads, hidden, false, List.of(Size.HIDDEN)));
        }

        private EntryChooser build(BlockBuilder from, int hidden, int rank) {
            List<Linear> layers = linears(hidden, rank).stream().map(from::router).toList();
            return new EntryChooser(this, layers, keys.build(from, hidden));
        }
    }

    private Optional<Choice> choice() {
        return Optional.ofNullable(compression).map(Compression::choice);
    }

    /// The layers that read the stream: for queries, then for keys.
    private List<LinearSpec> inputs(int hidden) {
        return List.of(
                new LinearSpec(
                        prefix + "wq_a",
                        queryRank,
                        hidden,
                        false,
                        List.of(Size.QUERY_RANK, Size.HIDDEN)),
                new LinearSpec(
                        prefix + "wkv",
                        sizes.dim(),
                        hidden,
                        false,
                        List.of(Size.HEAD_DIM, Size.HIDDEN)));
    }

    private LinearSpec queryUp() {
        return new LinearSpec(
                prefix + "wq_b",
                sizes.width(),
                queryRank,
                false,
                List.of(Size.HEADS, Size.HEAD_DIM, Size.QUERY_RANK));
    }

    /// Rows by group, each of which reads the heads of its group alone.
    private LinearSpec narrowing() {
        return new LinearSpec(
                prefix + "wo_a",
                (long) sizes.groups() * sizes.narrow(),
                sizes.width() / sizes.groups(),
                false,
                List.of(Size.HEADS, Size.HEAD_DIM));
    }

    private LinearSpec output(int hidden) {
        return new LinearSpec(
                prefix + "wo_b",
                hidden,
                (long) sizes.groups() * sizes.narrow(),
                false,
                List.of(Size.HIDDEN));
    }

    @Override
    public List<LinearSpec> linears(int hidden) {
        List<LinearSpec> all = new ArrayList<>(inputs(hidden));
        all.add(queryUp());
        all.add(narrowing());
        all.add(output(hidden));
        return all;
    }

    /// What makes keys of several tokens and chooses them.
    @Override
    public List<LinearSpec> routers(int hidden) {
        List<LinearSpec> all = new ArrayList<>();
        if (compression != null) {
            all.addAll(compression.keys().linears(hidden));
        }
        choice().ifPresent(c -> {
            all.addAll(c.linears(hidden, queryRank));
            all.addAll(c.keys().linears(hidden));
        });
        return all;
    }

    private InnerNorm queryNorm() {
        NormSpec norm = NormSpec.rms(prefix + "q_norm", eps);
        return new InnerNorm(norm, 1, queryRank, Size.QUERY_RANK);
    }

    private InnerNorm keyNorm() {
        return new InnerNorm(NormSpec.rms(prefix + "kv_norm", eps), 1, sizes.dim(), Size.HEAD_DIM);
    }

    @Override
    public List<InnerNorm> innerNorms() {
        List<InnerNorm> all = new ArrayList<>(List.of(queryNorm(), keyNorm()));
        compressors().forEach(c -> all.add(c.innerNorm()));
        return all;
    }

    /// What makes keys of several tokens: for the attention, then for the choice.
    public List<CompressorSpec> compressors() {
        List<CompressorSpec> all = new ArrayList<>();
        if (compression != null) {
            all.add(compression.keys());
        }
        choice().ifPresent(c -> all.add(c.keys()));
        return all;
    }

    private InnerTensor sinks() {
        return new InnerTensor(prefix + "attn_sink", new Shape(sizes.count()), List.of(Size.HEADS));
    }

    @Override
    public List<InnerTensor> innerTensors() {
        List<InnerTensor> all = new ArrayList<>(List.of(sinks()));
        compressors().forEach(c -> all.add(c.places()));
        return all;
    }

    @Override
    public Optional<String> fixed(Size size) {
        return size == Size.HEADS || size == Size.KV_HEADS
                ? Optional.of("all heads share one key, and become narrow in groups")
                : Optional.empty();
    }

    @Override
    public List<ScaleGroup> scaleGroups() {
        List<String> readers = new ArrayList<>(List.of(queryUp().name()));
        choice().ifPresent(c -> readers.add(c.queries()));
        return List.of(new ScaleGroup(new ScaleGroup.Weights(queryNorm().norm()), readers));
    }

    @Override
    public Streams streams() {
        List<String> readers = new ArrayList<>(List.of(prefix + "wq_a", prefix + "wkv"));
        compressors().forEach(c -> readers.addAll(List.of(c.values(), c.gates())));
        choice().ifPresent(c -> readers.add(c.weights()));
        return new Streams(readers, List.of(prefix + "wo_b"));
    }

    /// What reads the stream is one layer in engines.
    @Override
    public List<Joint> joints() {
        return List.of(new Joint(List.of(prefix + "wq_a", prefix + "wkv"), Optional.empty()));
    }

    @Override
    public long kept() {
        return Math.max(
                sizes.width(), Math.max(queryRank + sizes.dim(), sizes.groups() * sizes.narrow()));
    }

    @Override
    public List<RopeSpec> ropes() {
        List<RopeSpec> all = new ArrayList<>(List.of(turns, turns.reversed()));
        compressors().forEach(c -> all.addAll(List.of(c.turns(), c.keyTurns())));
        return all;
    }

    /// Keys of single tokens, which are values, too.
    CacheSpec tokens() {
        String name = prefix.substring(0, prefix.length() - 1);
        return new CacheSpec(name, 1, sizes.dim(), sizes.dim());
    }

    @Override
    public List<PageSpec> pages() {
        if (compression == null) {
            return List.of(tokens().keys(true), tokens().values());
        }
        List<PageSpec> all = new ArrayList<>(List.of(tokens().values()));
        compressors().forEach(c -> all.addAll(List.of(c.tokens(), c.keys())));
        return all;
    }

    /// All keys of several tokens are seen, or may be.
    @Override
    public int window(PageSpec pages) {
        for (CompressorSpec c : compressors()) {
            if (pages.equals(c.tokens())) {
                return c.window();
            }
            if (pages.equals(c.keys())) {
                return 0;
            }
        }
        return window;
    }

    @Override
    public List<Class<? extends Op>> special() {
        if (compression == null) {
            return List.of();
        }
        List<Class<? extends Op>> all = new ArrayList<>();
        all.add(CompressedOp.Compress.class);
        all.add(CompressedOp.CompressedAttention.class);
        choice().ifPresent(_ -> all.add(CompressedOp.ChooseEntries.class));
        return all;
    }

    @Override
    public long scored() {
        return (long) sizes.width() + sizes.dim();
    }

    @Override
    public String role() {
        return "attention";
    }

    @Override
    public String summary() {
        String heads = "%d heads of %d, window %d".formatted(sizes.count(), sizes.dim(), window);
        if (compression == null) {
            return heads;
        }
        String keys = ", keys of %d tokens".formatted(compression.keys().rate());
        return heads + keys + choice().map(c -> ", the %d best".formatted(c.most())).orElse("");
    }

    @Override
    public CompressedAttentionSpec renamed(UnaryOperator<String> names) {
        return new CompressedAttentionSpec(
                names.apply(prefix),
                sizes,
                queryRank,
                eps,
                turns,
                window,
                compression == null
                        ? null
                        : new Compression(
                                compression.keys().renamed(names),
                                choice().map(c ->
                                                new Choice(
                                                        names.apply(c.prefix()),
                                                        c.heads(),
                                                        c.most(),
                                                        c.keys().renamed(names)))
                                        .orElse(null)));
    }

    @Override
    public CompressedAttention build(BlockBuilder from, int hidden) {
        return new CompressedAttention(
                this,
                from.linears(inputs(hidden)),
                new CompressedAttention.Norms(from.norm(queryNorm()), from.norm(keyNorm())),
                from.linear(queryUp()),
                from.tensor(sinks()),
                compression == null
                        ? null
                        : new CompressedAttention.Compression(
                                compression.keys().build(from, hidden),
                                choice().map(c -> c.build(from, hidden, queryRank)).orElse(null)),
                List.of(from.linear(narrowing()), from.linear(output(hidden))));
    }
}
