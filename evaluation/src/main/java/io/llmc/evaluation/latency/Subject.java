// SPDX-License-Identifier: Apache-2.0
package io.llmc.evaluation.latency;

import com.google.errorprone.annotations.MustBeClosed;
import io.llmc.backend.Backend;
import io.llmc.formats.checkpoint.Checkpoint;
import io.llmc.model.ModelSpec;
import io.llmc.model.arch.Architectures;
import io.llmc.model.decoding.CacheSettings;
import io.llmc.model.decoding.Decoder;
import io.llmc.model.decoding.Decoder.Chunk;
import io.llmc.model.decoding.Sequence;
import io.llmc.pipeline.plan.DeviceSpec;
import io.llmc.pipeline.plan.ModelCost;
import io.llmc.pipeline.plan.Roofline;
import io.llmc.pipeline.plan.Serving;
import io.llmc.pipeline.plan.ServingSpec;
import io.llmc.pipeline.plan.Split;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Random;

/// A model that is timed. Its tokens are random, the same for all models: time does not depend on
/// what they say, but for which experts they go to.
final class Subject implements AutoCloseable {
    private static final int SEED = 20_240_229;

    /// Tokens that a page of the cache is counted as.
    private static final int PAGE = 32;

    private final Checkpoint checkpoint;
    private final ModelSpec spec;
    private final Backend backend;
    private Decoder decoder;
    private int[] tokens;
    private Roofline roofline;

    @MustBeClosed
    @SuppressWarnings("MustBeClosed") // closed by close()
    Subject(Checkpoint checkpoint, Backend backend) {
        this.checkpoint = checkpoint;
        this.backend = backend;
        try {
            this.spec = Architectures.specOf(checkpoint);
        } catch (RuntimeException e) {
            checkpoint.close();
            throw e;
        }
    }

    Checkpoint checkpoint() {
        return checkpoint;
    }

    ModelSpec spec() {
        return spec;
    }

    @SuppressWarnings("MustBeClosed") // closed by close()
    void load(CacheSettings settings, DeviceSpec machine) {
        int bits = settings.type().bits();
        var how = new ServingSpec(bits, PAGE, settings.rows(), 0, Split.NONE);
        roofline = new Roofline(new Serving(ModelCost.of(checkpoint), how), machine);
        decoder = Decoder.open(checkpoint, spec, backend, settings);
        int most = Math.toIntExact(settings.tokens() + settings.rows());
        tokens = new Random(SEED).ints(most, 0, spec.vocabulary()).toArray();
    }

    /// What the machine allows it.
    Roofline roofline() {
        return roofline;
    }

    /// Seconds from a prompt to the logits that follow it.
    double prefill(int length) {
        try (Sequence sequence = decoder.sequence()) {
            long begun = System.nanoTime();
            go(sequence, length);
            return (System.nanoTime() - begun) * 1e-9;
        }
    }

    /// A sequence of so many tokens.
    @MustBeClosed
    @SuppressWarnings("MustBeClosed") // the caller closes it
    Sequence at(int depth) {
        Sequence sequence = decoder.sequence();
        go(sequence, depth);
        return sequence;
    }

    private void go(Sequence sequence, int length) {
        int rows = decoder.settings().rows();
        for (int from = 0; from < length; from += rows) {
            int to = Math.min(length, from + rows);
            int scored = to == length ? 1 : 0;
            decoder.step(
                    List.of(new Chunk(sequence, Arrays.copyOfRange(tokens, from, to), scored)));
        }
    }

    /// Seconds of single steps in which copies of a sequence get a token each.
    @SuppressWarnings("MustBeClosed") // closed at the end
    double[] decode(Sequence start, int batch, int steps) {
        List<Sequence> all = new ArrayList<>();
        double[] seconds = new double[steps];
        try {
            for (int i = 0; i < batch; i++) {
                all.add(start.fork());
            }
            for (int s = 0; s < steps; s++) {
                int id = tokens[s];
                List<Chunk> chunks =
                        all.stream().map(q -> new Chunk(q, new int[] {id}, 1)).toList();
                long begun = System.nanoTime();
                decoder.step(chunks);
                seconds[s] = (System.nanoTime() - begun) * 1e-9;
            }
        } finally {
            all.forEach(Sequence::close);
        }
        return seconds;
    }

    /// Bytes that cache and passes take.
    long working(CacheSettings settings) {
        return Decoder.bytes(checkpoint, spec, settings, backend);
    }

    @Override
    public void close() {
        if (decoder != null) {
            decoder.close();
        }
        checkpoint.close();
    }
}
