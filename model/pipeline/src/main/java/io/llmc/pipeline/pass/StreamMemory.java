// SPDX-License-Identifier: Apache-2.0
package io.llmc.pipeline.pass;

import io.llmc.backend.Backend;
import io.llmc.formats.checkpoint.Checkpoint;
import io.llmc.model.ArenaPlan;
import io.llmc.model.DecoderBlock;
import io.llmc.model.LayerSpec;
import io.llmc.model.LayerSpec.LinearSpec;
import io.llmc.model.ModelSpec;
import io.llmc.model.Positions;
import io.llmc.model.language.Outline;
import java.util.ArrayList;
import java.util.List;

/// What carrying sequences through a model takes outside the Java heap, in bytes and from headers
/// alone. Each part is an upper bound of what [io.llmc.formats.MemoryBudget] will count.
///
/// @param outer what surrounds the blocks, mapped
/// @param block the largest block, mapped or unpacked
/// @param pass the arena that a chunk of sequences goes through a block in, and what kernels hold
/// @param kernels of that, what kernels hold, which stays
/// @param states all sequences between two stages
/// @param spill beside a pass, where sequences lie on disk instead
public record StreamMemory(
        long outer, long block, long pass, long kernels, long states, long spill) {
    /// An arena rounds each tensor up; a stage has some dozens of them.
    private static final long SLACK = 1 << 16;

    /// @param windows sequences
    /// @param length tokens of each
    public static StreamMemory of(
            Checkpoint c, ModelSpec spec, Backend backend, int windows, int length) {
        return of(c, spec, backend, windows, length, true);
    }

    /// @param staged whether sequences wait between the stages of a block, and not only between
    ///   blocks
    public static StreamMemory of(
            Checkpoint c,
            ModelSpec spec,
            Backend backend,
            int windows,
            int length,
            boolean staged) {
        int perChunk = Math.min(windows, HiddenStates.windowsPerChunk(length));
        int rows = perChunk * length;
        long scratch = 4L * rows * spec.width() * 4 + SLACK;
        long kept = 0;
        for (DecoderBlock block : outlines(c, spec)) {
            ArenaPlan.Pass pass = ArenaPlan.pass(block, rows, spec.width(), length);
            scratch = Math.max(scratch, pass.bytes());
            kept = staged ? Math.max(kept, pass.mostKept()) : 0;
        }
        long chunk = 4L * rows * spec.width() + kept;
        long kernels = kernels(spec, backend, rows);
        return new StreamMemory(
                outer(c, spec),
                largestBlock(c, spec),
                scratch + Positions.bytes(spec, length) + SLACK + kernels,
                kernels,
                Math.ceilDiv(windows, perChunk) * chunk,
                chunk);
    }

    /// The blocks without their bytes: enough to plan with.
    public static List<DecoderBlock> outlines(Checkpoint c, ModelSpec spec) {
        return Outline.blocks(c, spec);
    }

    /// What kernels hold beside arenas for the largest product of a pass.
    public static long kernels(ModelSpec spec, Backend backend, int rows) {
        long most = backend.kernelBytes(rows, spec.vocabulary(), spec.hidden());
        for (LayerSpec layer : spec.layers()) {
            for (LinearSpec l : layer.linears(spec.hidden())) {
                most = Math.max(most, backend.kernelBytes(rows, l.out(), l.in()));
            }
        }
        return most;
    }

    /// Bytes of the tensors outside of the blocks, as they are stored.
    public static long outer(Checkpoint c, ModelSpec spec) {
        List<String> names = new ArrayList<>(c.names());
        spec.layers().forEach(l -> names.removeIf(name -> name.startsWith(l.prefix())));
        return names.stream().mapToLong(name -> inMemory(c, name, false)).sum();
    }

    /// Bytes of the tensors of the largest block, with the copies that reading them makes.
    public static long largestBlock(Checkpoint c, ModelSpec spec) {
        return spec.layers().stream()
                .mapToLong(l ->
                        c.names().stream()
                                .filter(name -> name.startsWith(l.prefix()))
                                .mapToLong(name -> inMemory(c, name, spec.inOutLinears()))
                                .sum())
                .max()
                .orElse(0);
    }

    /// Bytes of one tensor that a model has read: packed weights and matrices that lie the other
    /// way round are copied when they are read.
    public static long inMemory(Checkpoint c, String name, boolean turned) {
        long bytes = c.info(name).byteSize();
        boolean turns = turned && c.info(name).shape().rank() == 2;
        return bytes + Math.max(c.copied(name), turns ? bytes : 0) + 64;
    }

    /// Bytes that a pass takes for rounded keys and values beside what it takes without.
    ///
    /// @param rows tokens of a chunk
    public static long cached(ModelSpec spec, long rows) {
        return spec.layers().stream()
                .flatMap(LayerSpec::bodies)
                .flatMap(body -> body.cache().stream())
                .mapToLong(c -> 8 * rows * c.heads() * c.width() + 512)
                .max()
                .orElse(0);
    }

    /// Channels a token that stages of any block hand on beside the residual stream.
    static long kept(ModelSpec spec) {
        return spec.layers().stream().mapToLong(l -> l.kept(spec.width())).max().orElse(0);
    }
}
