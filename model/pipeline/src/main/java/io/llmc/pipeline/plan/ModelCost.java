// SPDX-License-Identifier: Apache-2.0
package io.llmc.pipeline.plan;

import io.llmc.formats.TensorInfo;
import io.llmc.formats.checkpoint.Checkpoint;
import io.llmc.model.BodySpec;
import io.llmc.model.BorrowingAttentionSpec;
import io.llmc.model.CompressedAttentionSpec;
import io.llmc.model.CompressorSpec;
import io.llmc.model.DeltaNetSpec;
import io.llmc.model.ExpertsSpec;
import io.llmc.model.IndexerSpec;
import io.llmc.model.LatentAttentionSpec;
import io.llmc.model.LaurelSpec;
import io.llmc.model.LayerInputSpec;
import io.llmc.model.LayerSpec;
import io.llmc.model.LayerSpec.LinearSpec;
import io.llmc.model.MambaSpec;
import io.llmc.model.MlpSpec;
import io.llmc.model.ModelSpec;
import io.llmc.model.SelectiveScanSpec;
import io.llmc.model.SelfAttentionSpec;
import io.llmc.model.ShortConvolutionSpec;
import io.llmc.model.SumSpec;
import io.llmc.model.TensorTable;
import io.llmc.model.arch.Architectures;
import io.llmc.pipeline.plan.BlockCost.AttentionCost;
import io.llmc.pipeline.plan.BlockCost.Experts;
import io.llmc.pipeline.plan.BlockCost.Product;
import io.llmc.tensor.DType;
import io.llmc.tensor.Scheme;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.SequencedMap;
import java.util.function.Function;

/// A model as what it costs to keep and to run, from headers alone.
///
/// @param parameters numbers that its weights stand for, one that is used twice counted once
/// @param bytes of all weights, as they are stored
/// @param head the output layer; reads the embedding's bytes where that is tied
/// @param embedding bytes of the token embedding and of learned positions, of which a token reads a
///   row; 0 for what the head reads
/// @param rest bytes of what stands around the blocks beside these
/// @param plain the type of weights that are not packed
public record ModelCost(
        ModelSpec spec,
        long parameters,
        long bytes,
        List<BlockCost> blocks,
        Product head,
        long embedding,
        long rest,
        DType plain) {
    /// A model as its files have it.
    public static ModelCost of(Checkpoint c) {
        SequencedMap<String, Long> bytes = new LinkedHashMap<>();
        c.names().forEach(name -> bytes.put(name, c.bytes(name)));
        return of(Architectures.specOf(c), c, bytes, c::scheme);
    }

    /// A model as a sweep would write it.
    ///
    /// @param c before
    /// @param tensors of the output
    /// @param schemes of its linear layers
    public static ModelCost of(
            Checkpoint c, List<TensorInfo> tensors, Map<String, Scheme> schemes) {
        SequencedMap<String, Long> bytes = new LinkedHashMap<>();
        tensors.forEach(t -> bytes.put(t.name(), t.byteSize()));
        return of(
                Architectures.specOf(c), c, bytes, name -> Optional.ofNullable(schemes.get(name)));
    }

    private static ModelCost of(
            ModelSpec spec,
            Checkpoint c,
            SequencedMap<String, Long> bytes,
            Function<String, Optional<Scheme>> schemes) {
        Counted counted = new Counted(spec, c.config().dtype(), bytes, schemes);
        List<BlockCost> blocks = spec.layers().stream().map(counted::block).toList();
        Product head = counted.product(spec.headLayer());
        long embedding = spec.tied() ? 0 : counted.bytes(spec.embedding());
        if (spec.positionEmbedding() != null) {
            embedding += counted.bytes(spec.positionEmbedding());
        }
        long all = bytes.values().stream().mapToLong(Long::longValue).sum();
        long inside = blocks.stream().mapToLong(BlockCost::bytes).sum();
        return new ModelCost(
                spec,
                new TensorTable(spec, Architectures.of(c.config())).parameters(),
                all,
                blocks,
                head,
                embedding,
                all - inside - head.bytes() - embedding,
                c.config().dtype());
    }

    /// Tensors by the linear layer that they belong to.
    private static final class Counted {
        private final ModelSpec spec;
        private final DType plain;
        private final Function<String, Optional<Scheme>> schemes;
        private final Map<String, Long> byLinear = new HashMap<>();

        /// By the prefix of a block.
        private final Map<String, Long> byBlock = new HashMap<>();

        Counted(
                ModelSpec spec,
                DType plain,
                SequencedMap<String, Long> bytes,
                Function<String, Optional<Scheme>> schemes) {
            this.spec = spec;
            this.plain = plain;
            this.schemes = schemes;
            List<String> known = new ArrayList<>(List.of(spec.embedding(), spec.head()));
            if (spec.positionEmbedding() != null) {
                known.add(spec.positionEmbedding());
            }
            for (LayerSpec layer : spec.layers()) {
                layer.linears(spec.hidden()).forEach(l -> known.add(l.name()));
                layer.routers(spec.hidden()).forEach(l -> known.add(l.name()));
                byBlock.put(layer.prefix(), 0L);
            }
            known.forEach(name -> byLinear.put(name, 0L));
            bytes.forEach((name, size) -> {
                for (int dot = name.length(); dot > 0; dot = name.lastIndexOf('.', dot - 1)) {
                    byLinear.computeIfPresent(name.substring(0, dot), (_, sum) -> sum + size);
                    byBlock.computeIfPresent(
                            name.substring(0, Math.min(name.length(), dot + 1)),
                            (_, sum) -> sum + size);
                }
            });
        }

        long bytes(String linear) {
            return byLinear.get(linear);
        }

        Product product(LinearSpec l) {
            return new Product(
                    l.out() * l.in(),
                    bytes(l.name()),
                    Arithmetic.of(schemes.apply(l.name()), plain));
        }

        List<Product> products(List<LinearSpec> linears) {
            return linears.stream().map(this::product).toList();
        }

        BlockCost block(LayerSpec layer) {
            List<Product> products = new ArrayList<>(products(layer.routers(spec.hidden())));
            Experts experts = null;
            List<AttentionCost> attentions = new ArrayList<>();
            long widest = 0;
            for (BodySpec body : layer.bodies().toList()) {
                switch (body) {
                    case SelfAttentionSpec a -> {
                        products.addAll(products(a.linears(spec.hidden())));
                        attentions.addAll(
                                chosen(
                                        new AttentionCost(
                                                a.heads(),
                                                a.kvHeads(),
                                                a.headDim() + a.valueDim(),
                                                a.window()),
                                        a.scores().indexer()));
                        widest = Math.max(widest, width(a));
                    }
                    case BorrowingAttentionSpec a -> {
                        products.addAll(products(a.linears(spec.hidden())));
                        attentions.add(borrowing(a));
                        widest = Math.max(widest, width(a));
                    }
                    case LatentAttentionSpec a -> {
                        products.addAll(products(a.linears(spec.hidden())));
                        attentions.addAll(chosen(latent(a), a.indexer()));
                        widest = Math.max(widest, width(a));
                    }
                    case CompressedAttentionSpec a -> {
                        products.addAll(products(a.linears(spec.hidden())));
                        attentions.addAll(compressed(a));
                        widest = Math.max(widest, width(a));
                    }
                    case MlpSpec _,
                            ShortConvolutionSpec _,
                            DeltaNetSpec _,
                            MambaSpec _,
                            SelectiveScanSpec _,
                            LayerInputSpec _,
                            LaurelSpec _ -> {
                        products.addAll(products(body.linears(spec.hidden())));
                        widest = Math.max(widest, width(body));
                    }
                    case SumSpec _ -> throw new IllegalStateException("a body is taken apart");
                    case ExpertsSpec all -> {
                        experts = experts(all);
                        widest = Math.max(widest, all.topK() * width(all.experts().getFirst()));
                    }
                }
            }
            BlockCost bare =
                    new BlockCost(
                            products,
                            Optional.ofNullable(experts),
                            attentions,
                            0,
                            widest,
                            (int) layer.branches().stream().filter(b -> !b.parallel()).count());
            return bare.with(byBlock.get(layer.prefix()) - bare.bytes());
        }

        private static AttentionCost borrowing(BorrowingAttentionSpec a) {
            int width = a.sizes().dim() + a.sizes().valueDim();
            return new AttentionCost(a.heads(), a.sizes().keys(), 0, width, width, a.window());
        }

        /// With what chooses its keys, and keeps some of its own for that.
        ///
        /// @param by null for nothing
        private static List<AttentionCost> chosen(AttentionCost all, IndexerSpec by) {
            if (by == null) {
                return List.of(all);
            }
            AttentionCost some = all.choosing(by.choice().keys());
            int kept = by.choice().pooled() ? 2 * by.dim() : by.dim();
            return by.own()
                    ? List.of(some, new AttentionCost(by.heads(), 1, kept, by.dim(), by.dim(), 0))
                    : List.of(some);
        }

        /// Engines keep what keys and values are made of; a token that comes alone asks that
        /// itself.
        private static AttentionCost latent(LatentAttentionSpec a) {
            LatentAttentionSpec.Heads sizes = a.sizes();
            return new AttentionCost(
                    a.heads(),
                    1,
                    a.latentWidth(),
                    sizes.dim() + sizes.valueDim(),
                    a.latentWidth() + a.latents().rank(),
                    0);
        }

        /// The window's keys, and those of several tokens: parts of each token's.
        private static List<AttentionCost> compressed(CompressedAttentionSpec a) {
            int heads = a.sizes().count();
            int dim = a.sizes().dim();
            List<AttentionCost> all = new ArrayList<>();
            all.add(new AttentionCost(heads, 1, dim, 2 * dim, 2 * dim, a.window()));
            for (CompressorSpec keys : a.compressors()) {
                boolean chosenBy = !keys.equals(a.compression().keys());
                int part = Math.ceilDiv(keys.dim(), keys.rate());
                int asked = Math.ceilDiv((chosenBy ? 1 : 2) * keys.dim(), keys.rate());
                int queries = chosenBy ? a.compression().choice().heads() : heads;
                all.add(new AttentionCost(queries, 1, part, asked, asked, 0));
            }
            return all;
        }

        /// What the layers of a body give, and what the last of them reads.
        private long width(BodySpec body) {
            List<LinearSpec> linears = body.linears(spec.hidden());
            return linears.stream().mapToLong(LinearSpec::out).sum() + linears.getLast().in();
        }

        /// Of the mean expert: they differ where some layers were left as they are.
        private Experts experts(ExpertsSpec all) {
            int count = all.experts().size();
            List<Product> one = new ArrayList<>();
            List<LinearSpec> first = all.experts().getFirst().linears(spec.hidden());
            for (int i = 0; i < first.size(); i++) {
                int at = i;
                long bytes =
                        all.experts().stream()
                                .map(e -> e.linears(spec.hidden()).get(at).name())
                                .mapToLong(this::bytes)
                                .sum();
                Product p = product(first.get(i));
                one.add(new Product(p.weights(), bytes / count, p.arithmetic()));
            }
            return new Experts(one, count, all.topK());
        }
    }

    /// Weights that a token is multiplied with, the head's with them.
    public long active() {
        return head.weights()
                + blocks.stream()
                        .mapToLong(b ->
                                b.products().stream().mapToLong(Product::weights).sum()
                                        + b.experts()
                                                .map(e ->
                                                        e.each()
                                                                * e.one().stream()
                                                                        .mapToLong(Product::weights)
                                                                        .sum())
                                                .orElse(0L))
                        .sum();
    }

    public double bitsPerWeight() {
        return 8.0 * bytes / parameters;
    }
}
