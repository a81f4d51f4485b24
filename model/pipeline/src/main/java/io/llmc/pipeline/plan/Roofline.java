// SPDX-License-Identifier: Apache-2.0
package io.llmc.pipeline.plan;

import io.llmc.pipeline.plan.BlockCost.AttentionCost;
import io.llmc.pipeline.plan.BlockCost.Product;

/// The least time of a step on a device: of each part the longer one of what must cross memory at
/// its bandwidth and what must be computed at its peak (Williams et al., 2009, doi
/// 10.1145/1498765.1498785), and of what devices must tell each other. Nothing overlaps with the
/// next part, activations cost nothing, and no kernel is slower than its device: a bound for what
/// can be, not a measurement.
public record Roofline(Serving serving, DeviceSpec device) {
    /// What a step waits for most.
    public enum Bound {
        BANDWIDTH,
        COMPUTE,
        LINK
    }

    /// @param memory seconds of parts that wait for memory
    /// @param compute seconds of parts that wait for arithmetic
    /// @param link seconds between devices
    public record Time(double memory, double compute, double link) {
        static final Time NONE = new Time(0, 0, 0);

        public double seconds() {
            return memory + compute + link;
        }

        public Bound bound() {
            if (link > memory && link > compute) {
                return Bound.LINK;
            }
            return memory >= compute ? Bound.BANDWIDTH : Bound.COMPUTE;
        }

        Time and(Time other) {
            return new Time(memory + other.memory, compute + other.compute, link + other.link);
        }

        Time times(double factor) {
            return new Time(memory * factor, compute * factor, link * factor);
        }
    }

    /// Some requests at once.
    ///
    /// @param requests that go through one device together
    /// @param tokens of each in this step
    /// @param before tokens of each that are cached
    private record Step(double requests, double tokens, long before) {
        double rows() {
            return requests * tokens;
        }
    }

    /// One token for each of some requests, whose caches hold `depth` tokens. A batch goes through
    /// a pipeline in as many parts as there are devices, where it has as many requests: then all of
    /// them work, and each request waits for every stage once.
    public Time decode(int batch, long depth) {
        Split split = serving.how().split();
        double mine = Math.max(1, (double) batch / split.experts());
        double together = Math.ceil(mine / split.pipeline());
        double turns = Math.max(split.pipeline(), Math.ceil(mine / together));
        double groups = Math.min(split.experts(), batch / together);
        // The slowest stage: the last makes logits, too.
        Time stage = stage(new Step(together, 1, depth), groups);
        return stage.and(part(serving.model().head(), together)).times(turns);
    }

    /// Several tokens of one request at once, as of a draft, behind `depth` cached ones, and the
    /// logits of all.
    public Time check(int tokens, long depth) {
        return stage(new Step(1, tokens, depth), 1)
                .and(part(serving.model().head(), tokens))
                .times(serving.how().split().pipeline());
    }

    /// Tokens a second of all requests together.
    public double decodeRate(int batch, long depth) {
        return batch / decode(batch, depth).seconds();
    }

    /// A prompt, from its first token to the logits of its last. Its chunks follow each other
    /// through a pipeline.
    public Time prefill(long length) {
        ServingSpec how = serving.how();
        double chunks = Math.max(1, Math.ceil((double) length / how.chunk()));
        double turns = (chunks + how.split().pipeline() - 1) / chunks;
        return stage(new Step(1, length, 0), 1).times(turns).and(part(serving.model().head(), 1));
    }

    public double prefillRate(long length) {
        return length / prefill(length).seconds();
    }

    /// The blocks of one device.
    ///
    /// @param groups of requests on devices that have different experts
    private Time stage(Step step, double groups) {
        Time time = Time.NONE;
        for (BlockCost block : serving.stage()) {
            time = time.and(block(block, step, groups));
        }
        Split split = serving.how().split();
        double handed = split.pipeline() > 1 ? step.rows() * hidden() : 0;
        return time.and(link(handed / split.tensor()))
                .and(bytes(serving.model().rest() / (double) split.pipeline()));
    }

    private Time block(BlockCost block, Step step, double groups) {
        Time time = bytes(block.rest());
        for (Product p : block.products()) {
            time = time.and(part(p, step.rows()));
        }
        Split split = serving.how().split();
        if (block.experts().isPresent()) {
            time = time.and(experts(block.experts().get(), step, groups));
        }
        for (AttentionCost a : block.attentions()) {
            time = time.and(attention(a, step));
        }
        double summed = 2.0 * (split.tensor() - 1) / split.tensor() * step.rows() * hidden();
        return time.and(link(summed * block.branches()));
    }

    private double hidden() {
        return (double) serving.model().spec().hidden() * Serving.ACTIVATION;
    }

    /// A product, cut among devices.
    private Time part(Product p, double rows) {
        double devices = serving.how().split().tensor();
        return part(p.bytes() / devices, 2 * rows * p.weights() / devices, p.arithmetic());
    }

    private Time part(double bytes, double operations, Arithmetic arithmetic) {
        double memory = bytes / device.bandwidth();
        double compute = operations / device.peak(arithmetic);
        return memory >= compute ? new Time(memory, 0, 0) : new Time(0, compute, 0);
    }

    private Time bytes(double bytes) {
        return new Time(bytes / device.bandwidth(), 0, 0);
    }

    /// Where nothing says how fast devices talk, they talk for nothing.
    private Time link(double bytes) {
        return device.link() == 0 ? Time.NONE : new Time(0, 0, bytes / device.link());
    }

    /// Tokens choose evenly, so each device has as many.
    private Time experts(BlockCost.Experts e, Step step, double groups) {
        Split split = serving.how().split();
        double tokens = step.rows() * groups;
        double share = 1.0 / (split.experts() * split.tensor());
        double operations = 0;
        for (Product p : e.one()) {
            operations += 2 * tokens * e.each() * p.weights() * share;
        }
        Arithmetic arithmetic = e.one().getFirst().arithmetic();
        Time work = part(serving.read(e, tokens), operations, arithmetic);
        double sent = step.rows() * e.each() * hidden() * (split.experts() - 1) / split.experts();
        return work.and(link(2 * sent));
    }

    private Time attention(AttentionCost a, Step step) {
        ServingSpec how = serving.how();
        double keys =
                step.before() > 0
                        ? step.tokens() * a.span(step.before() + 1)
                        : a.spans((long) step.tokens());
        double cached = step.before() > 0 ? a.span(step.before() + 1) : step.tokens();
        double bytes = step.requests() * cached * how.split().kept(a) * how.cacheBits() / 8;
        double each = a.operations(step.before() > 0) / how.split().tensor();
        double operations = step.requests() * keys * each;
        return part(bytes, operations, Arithmetic.BF16);
    }
}
