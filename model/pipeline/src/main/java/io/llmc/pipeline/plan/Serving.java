// SPDX-License-Identifier: Apache-2.0
package io.llmc.pipeline.plan;

import io.llmc.pipeline.plan.BlockCost.AttentionCost;
import io.llmc.pipeline.plan.BlockCost.Experts;
import io.llmc.pipeline.plan.BlockCost.Product;
import java.util.List;
import java.util.function.ToDoubleFunction;

/// What a model takes of each device while it answers requests. Bytes are those of the device that
/// has most.
public record Serving(ModelCost model, ServingSpec how) {
    /// Bytes of an activation in the engines that the tables stand for.
    static final int ACTIVATION = 2;

    private Split split() {
        return how.split();
    }

    /// The blocks of one device of the pipeline: the first, which has most where they do not share
    /// out evenly.
    List<BlockCost> stage() {
        return model.blocks().subList(0, split().blocks(model.blocks().size()));
    }

    /// Weights of a device.
    public double weights() {
        double blocks = 0;
        for (BlockCost block : stage()) {
            double shared = block.products().stream().mapToLong(Product::bytes).sum();
            double routed = block.experts().map(e -> (double) e.bytes() * e.count()).orElse(0.0);
            blocks += (shared + routed / split().experts()) / split().tensor() + block.rest();
        }
        // What surrounds the blocks: the first device embeds, the last makes logits.
        double embeds = (double) model.embedding() / split().tensor();
        double predicts = (double) model.head().bytes() / split().tensor();
        boolean apart = split().pipeline() > 1 && !model.spec().tied();
        return blocks + model.rest() + (apart ? Math.max(embeds, predicts) : embeds + predicts);
    }

    /// Bytes of cache that a token adds where every layer keeps it, on all devices together that
    /// have it once.
    public double cachePerToken() {
        return model.blocks().stream()
                        .flatMap(b -> b.attentions().stream())
                        .mapToLong(AttentionCost::ofToken)
                        .sum()
                * how.cacheBits()
                / 8.0;
    }

    /// Bytes of cache of a request on one device, in whole pages. A layer with a window keeps the
    /// pages that the window touches.
    public double cache(long length) {
        return sum(
                        stage(),
                        b ->
                                b.attentions().stream()
                                        .mapToDouble(
                                                a -> (double) pages(a, length) * split().kept(a))
                                        .sum())
                * how.page()
                * how.cacheBits()
                / 8;
    }

    private long pages(AttentionCost a, long length) {
        long all = Math.ceilDiv(length, (long) how.page());
        return a.window() == 0 ? all : Math.min(all, (a.window() - 2L) / how.page() + 2);
    }

    /// Bytes of activations on one device: the residual stream twice, what goes in and comes out of
    /// the widest branch, and logits of each request.
    public double activations(int batch) {
        double tokens = how.chunk();
        double widest =
                model.blocks().stream().mapToDouble(BlockCost::widest).max().orElse(0)
                        / split().tensor();
        double stream = 2.0 * model.spec().hidden();
        return tokens * (stream + widest) * ACTIVATION
                + 4.0 * batch * model.spec().vocabulary() / split().tensor();
    }

    /// What a device has left for the cache; negative where the model does not fit.
    public double room(DeviceSpec device, int batch) {
        return device.memory() * (1 - how.reserve()) - weights() - activations(batch);
    }

    /// Requests of a length that fit at once; 0 where none does, also where the model itself does
    /// not.
    public long fits(DeviceSpec device, long length) {
        double room = room(device, 1);
        double logits = 4.0 * model.spec().vocabulary() / split().tensor();
        double each = cache(length) + logits;
        return room < cache(length) ? 0 : (long) ((room + logits) / each) * split().experts();
    }

    static double sum(List<BlockCost> blocks, ToDoubleFunction<BlockCost> of) {
        return blocks.stream().mapToDouble(of).sum();
    }

    /// Bytes of weights that a step of some tokens reads on one device of a stage: experts that no
    /// token goes to are not read.
    double read(Experts e, double tokens) {
        return e.bytes() * e.reached(tokens) / (split().experts() * split().tensor());
    }
}
