// SPDX-License-Identifier: Apache-2.0
package io.llmc.pipeline.generation;

import io.llmc.backend.Backend;
import io.llmc.formats.UserException;
import io.llmc.formats.checkpoint.Checkpoint;
import io.llmc.model.ModelSpec;
import io.llmc.model.Positions;
import io.llmc.model.decoding.CacheSettings;
import io.llmc.model.decoding.Decoder;
import io.llmc.model.language.ResidentModel;
import io.llmc.pipeline.ByteSize;
import io.llmc.pipeline.pass.StreamMemory;

/// What a resident model with a cache takes outside the Java heap, from headers alone. Where the
/// device has memory of its own, it is that memory.
public record GenerationMemory(Checkpoint checkpoint, ModelSpec spec, Backend backend) {
    private static final long SLACK = 1 << 14;

    /// In whole MiB.
    public long bytes(CacheSettings cache) {
        return ByteSize.roundUp(
                weights()
                        + Positions.bytes(spec, 1)
                        + Decoder.bytes(checkpoint, spec, cache, backend)
                        + StreamMemory.kernels(spec, backend, cache.rows())
                        + SLACK);
    }

    private long weights() {
        return backend.sharesHostMemory()
                ? checkpoint.names().stream()
                        .mapToLong(n -> StreamMemory.inMemory(checkpoint, n, spec.inOutLinears()))
                        .sum()
                : ResidentModel.copies(checkpoint, "", backend);
    }

    /// @param cap bytes at most
    /// @param otherwise what helps but more memory
    /// @throws UserException where it is more, with the tokens that would fit
    public void require(CacheSettings cache, long cap, String otherwise) {
        long most = backend.sharesHostMemory() ? cap : Math.min(cap, backend.room());
        if (bytes(cache) <= most) {
            return;
        }
        ByteSize.requireWithin(most, bytes(cache.withTokens(1)), otherwise);
        throw new UserException(
                "{memory} %s holds the model and a cache of %,d tokens, but %,d are wanted"
                        .formatted(ByteSize.format(most), fitting(cache, most), cache.tokens()),
                "raise it, or " + otherwise);
    }

    /// The most tokens that fit.
    private long fitting(CacheSettings cache, long most) {
        long fits = 1;
        long fitsNot = cache.tokens();
        while (fits + 1 < fitsNot) {
            long middle = (fits + fitsNot) / 2;
            if (bytes(cache.withTokens(middle)) <= most) {
                fits = middle;
            } else {
                fitsNot = middle;
            }
        }
        return fits;
    }
}
