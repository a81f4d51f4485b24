// SPDX-License-Identifier: Apache-2.0
package io.llmc.pipeline.sweep;

import io.llmc.backend.Backend;
import io.llmc.formats.TensorInfo;
import io.llmc.formats.UserException;
import io.llmc.formats.checkpoint.Checkpoint;
import io.llmc.model.DecoderBlock;
import io.llmc.model.ModelSpec;
import io.llmc.model.arch.Architectures;
import io.llmc.model.language.Head;
import io.llmc.pipeline.ByteSize;
import io.llmc.pipeline.SweepPlan;
import io.llmc.pipeline.pass.BlockPass;
import io.llmc.pipeline.pass.HiddenStates;
import io.llmc.pipeline.pass.PairedStates;
import io.llmc.pipeline.pass.Sample;
import io.llmc.pipeline.pass.StreamMemory;
import io.llmc.pipeline.pass.SumTree;
import io.llmc.tensor.BlockType;
import io.llmc.tensor.Codes;
import io.llmc.tensor.DType;
import io.llmc.tensor.Encoding;
import io.llmc.tensor.Tiles;
import io.llmc.tokenizer.CalibrationSpec;
import java.util.List;

/// How much memory a sweep needs outside the Java heap, and whether activations go to disk for it.
///
/// @param bytes at the worst moment
/// @param spills whether sequences lie on disk between stages
record MemoryPlan(long bytes, boolean spills) {
    /// Tokens of the probe that the output is verified with.
    private static final int PROBE = 8;

    /// Scales of keys and values of a block, as found and as kept, each of some heads.
    private static final long CACHE_SCALES = 1 << 14;

    /// @param models the source and what each view makes of it, in order
    /// @param output what the last of them becomes
    /// @param calibration null where nothing calibrates
    /// @throws UserException where not even spilling keeps the cap
    static MemoryPlan of(
            List<Checkpoint> models,
            OutputPlan output,
            SweepStep sweep,
            CalibrationSpec calibration,
            Backend backend,
            long cap) {
        long resident = 0;
        long spilled = 0;
        long stored = 0;
        for (int i = 0; i < models.size(); i++) {
            Checkpoint c = models.get(i);
            ModelSpec spec = Architectures.specOf(c);
            boolean last = i == models.size() - 1;
            // A view's tensors are made of those of the checkpoint before it, which stay mapped.
            stored += StreamMemory.outer(c, spec) + StreamMemory.largestBlock(c, spec);
            CalibrationSpec seen = last ? sweep.travelling(calibration) : calibration;
            long work = last ? blocks(c, spec, output, sweep, seen, backend) : 0;
            // Tensors of a block are made before a pass works on it.
            work = Math.max(work, making(models, sweep, i));
            if (!last) {
                int windows = seen == null ? 0 : seen.samples();
                int length = seen == null ? 0 : seen.length();
                work = Math.max(work, sweep.modelPasses().get(i).workBytes(spec, windows, length));
            }
            StreamMemory sequences =
                    seen == null
                            ? null
                            : StreamMemory.of(
                                    c,
                                    spec,
                                    backend,
                                    seen.samples(),
                                    seen.length(),
                                    !last
                                            || sweep.passes().stream()
                                                    .anyMatch(BlockPass::wantsAllSequences));
            long pass = sequences == null ? 0 : sequences.pass();
            long streams = last && sweep.passes().stream().anyMatch(BlockPass::compares) ? 2 : 1;
            resident =
                    Math.max(
                            resident,
                            stored
                                    + work
                                    + streams * pass
                                    + (sequences == null ? 0 : streams * sequences.states()));
            spilled =
                    Math.max(
                            spilled,
                            stored
                                    + work
                                    + streams * pass
                                    + (sequences == null ? 0 : sequences.spill()));
        }
        resident = ByteSize.roundUp(resident);
        spilled = ByteSize.roundUp(spilled);
        if (resident <= cap) {
            return new MemoryPlan(resident, false);
        }
        ByteSize.requireWithin(
                cap,
                Math.min(resident, spilled),
                calibration == null ? "" : "lower {calibration.length}");
        return new MemoryPlan(spilled, true);
    }

    /// With what comes before the blocks, and is given back.
    MemoryPlan orMore(long before) {
        return new MemoryPlan(Math.max(bytes, before), spills);
    }

    /// What making a tensor of a model takes, which asks for tensors of those before it.
    private static long making(List<Checkpoint> models, SweepStep sweep, int model) {
        long bytes = 0;
        for (int i = 0; i < model; i++) {
            ModelSpec spec = Architectures.specOf(models.get(i));
            bytes += sweep.modelPasses().get(i).makingBytes(spec);
        }
        return bytes;
    }

    /// Beside the model and its sequences, while blocks are compressed and written.
    private static long blocks(
            Checkpoint c,
            ModelSpec spec,
            OutputPlan output,
            SweepStep sweep,
            CalibrationSpec calibration,
            Backend backend) {
        StreamMemory probe =
                StreamMemory.of(c, spec, backend, 1, Math.min(PROBE, spec.maxPositions()));
        long passes =
                sweep.passes().stream()
                        .mapToLong(p -> work(p, output, c, spec, calibration))
                        .max()
                        .orElse(0);
        long written = 0;
        long replaced = 0;
        for (int b = 0; b < spec.layers().size(); b++) {
            long encoded = 0;
            for (SweepPlan.Module m : output.modules().values()) {
                if (m.block() == b) {
                    encoded += encoded(m, output, spec);
                }
            }
            written = Math.max(written, encoded);
            replaced = Math.max(replaced, replaced(b, output, sweep.passes(), c));
        }
        long cached =
                output.cache().isEmpty() || calibration == null
                        ? 0
                        : StreamMemory.cached(
                                output.target(),
                                HiddenStates.windowsPerChunk(calibration.length())
                                        * (long) calibration.length());
        long unpacked =
                calibration == null
                        ? 0
                        : StreamMemory.outlines(c, spec).stream()
                                .mapToLong(block -> Unpacked.blockBytes(block.stages()))
                                .max()
                                .orElse(0);
        long logits =
                4L * PROBE * (spec.width() + 4L * spec.vocabulary())
                        + Head.gathering(spec, PROBE)
                        + (1 << 14);
        // Outer layers stay, and are rounded before there is anything else.
        long outer = OuterLayers.bytes(output);
        long rounding = OuterLayers.workBytes(output, sweep.modelPasses());
        return outer
                + replaced
                + cached
                + probe.pass()
                + probe.states()
                + Math.max(
                        Math.max(passes, Math.max(unpacked, rounding)),
                        Math.max(written + outer, logits));
    }

    /// What a pass holds while it works: of the inputs of its layers, and for one layer.
    private static long work(
            BlockPass pass,
            OutputPlan output,
            Checkpoint c,
            ModelSpec spec,
            CalibrationSpec calibration) {
        List<SweepPlan.Module> mine =
                output.modules().values().stream()
                        .filter(m -> pass.targets().selects(m.name()))
                        .toList();
        long layer = mine.stream().mapToLong(pass::workBytes).max().orElse(0);
        if (!pass.calibrates()) {
            return layer;
        }
        if (pass.refines()) {
            int tokens = calibration.length();
            return StreamMemory.outlines(c, spec).stream()
                    .mapToLong(block -> pass.refiningBytes(block, spec.width(), tokens))
                    .max()
                    .orElse(0);
        }
        long length = calibration.length();
        long rows =
                Math.min(calibration.samples(), HiddenStates.windowsPerChunk((int) length))
                        * length;
        long tap = mine.stream().mapToLong(m -> pass.tapBytes(rows, m.out())).max().orElse(0);
        int partials = SumTree.partials(calibration.samples(), (int) length);
        long most = 0;
        for (DecoderBlock block : StreamMemory.outlines(c, spec)) {
            List<Long> stages =
                    block.stages().stream()
                            .map(stage ->
                                    stage.groups().stream()
                                            .map(layers -> layers.getFirst().weight())
                                            .mapToLong(w ->
                                                    pass.inputBytes(w.inFeatures(), spec.hidden()))
                                            .limit(
                                                    stage.routed()
                                                            ? pass.expertsTogether()
                                                            : Integer.MAX_VALUE)
                                            .sum())
                            .toList();
            long largest = stages.stream().mapToLong(Long::longValue).max().orElse(0);
            long all = stages.stream().mapToLong(Long::longValue).sum();
            // Who surveys sees a whole block before it counts.
            long found = pass.surveys() ? all : largest;
            long merging = (partials - 1) * largest;
            long beside =
                    pass.compares() ? PairedStates.bytes(rows, widest(block), spec.hidden()) : 0;
            long held = found + Math.max(layer, merging + tap + beside);
            most = Math.max(most, held + sample(pass, block, spec, calibration));
        }
        return most;
    }

    /// What a pass takes that looks at a sample, or tries weights on one.
    private static long sample(
            BlockPass pass, DecoderBlock block, ModelSpec spec, CalibrationSpec calibration) {
        long all = pass.blockBytes(block.spec(), spec.hidden());
        if (pass.sampleTokens() == 0) {
            return all;
        }
        return all
                + sample(pass.sampleTokens(), false, block, spec, calibration)
                + (pass.trialTokens() == 0
                        ? 0
                        : sample(pass.trialTokens(), true, block, spec, calibration));
    }

    private static long sample(
            int tokens,
            boolean tries,
            DecoderBlock block,
            ModelSpec spec,
            CalibrationSpec calibration) {
        return Sample.bytes(
                block, spec.width(), tokens, calibration.samples(), calibration.length(), tries);
    }

    /// Columns that the inputs of a stage have together, at most.
    private static long widest(DecoderBlock block) {
        return block.stages().stream()
                .filter(stage -> !stage.routed())
                .map(stage -> stage.groups().stream().map(List::getFirst))
                .mapToLong(firsts -> firsts.mapToLong(l -> l.weight().inFeatures()).sum())
                .max()
                .orElse(0);
    }

    /// The form of the files, in which a finished block is written.
    private static long encoded(SweepPlan.Module m, OutputPlan output, ModelSpec spec) {
        List<TensorInfo> tensors = output.encoded(m.name());
        if (output.isDense(m.name()) && !spec.inOutLinears()) {
            return 0;
        }
        // Scales are converted and then turned.
        return tensors.stream().mapToLong(t -> t.byteSize() + 64).sum() * 3 / 2;
    }

    /// Bytes of what passes put in the place of a block's weights: the plan counts them, and the
    /// block's arena has room for no more.
    static long replaced(int block, OutputPlan output, List<BlockPass> passes, Checkpoint c) {
        return output.modules().values().stream()
                        .filter(m -> m.block() == block)
                        .mapToLong(m -> replaced(m, output, passes, c))
                        .sum()
                + (output.reshapes() ? others(block, output, c) : 0)
                + (output.cache().isPresent() ? CACHE_SCALES : 0);
    }

    /// What is cut beside the weights of linear layers: biases and routers, in F32 and as they
    /// were.
    private static long others(int block, OutputPlan output, Checkpoint c) {
        String prefix = output.target().layers().get(block).prefix();
        return c.names().stream()
                .filter(name -> name.startsWith(prefix))
                .filter(name -> !output.modules().containsKey(name.replaceFirst("\\.weight$", "")))
                .mapToLong(name -> 8 * c.info(name).shape().size() + 1024)
                .sum();
    }

    private static long replaced(
            SweepPlan.Module m, OutputPlan output, List<BlockPass> passes, Checkpoint c) {
        if (passes.isEmpty()) {
            return 0;
        }
        long size = m.out() * m.in();
        DType stored = c.info(m.name() + ".weight").dtype();
        boolean dense = output.isDense(m.name());
        long rounded = stored == DType.F32 ? 0 : stored.bytesFor(size);
        boolean compares = passes.stream().anyMatch(BlockPass::compares);
        long bytes = 0;
        for (BlockPass pass : passes) {
            if (!pass.targets().selects(m.name()) && !output.reshapes()) {
                continue;
            }
            boolean packs = pass.solver().isPresent() || pass.refines();
            boolean quantizes = packs && m.scheme().isPresent();
            long made =
                    quantizes
                            ? bytes(m.scheme().orElseThrow().weights(), m.out(), m.in())
                            : 4 * size;
            long unpacked = quantizes && dense ? 4 * size : 0;
            // A block of another size is made of parts that are cut once more.
            bytes += made + unpacked + (dense ? rounded : 0);
            bytes += output.reshapes() ? 4 * size + 4 * m.out() : 0;
            // What a corrected weight is rounded from, and the original's in another basis.
            bytes += pass.compares() && quantizes ? 4 * size : 0;
            bytes += compares && output.reshapes() ? 4 * size + 4 * m.out() : 0;
            bytes += 2048;
        }
        return bytes;
    }

    static long bytes(Encoding encoding, long out, long in) {
        return switch (encoding) {
            case Encoding.Dense(DType type) -> type.bytesFor(out * in);
            case Encoding.Grid<?>(Codes.Ints codes, Tiles tiles, _) ->
                    out * (4 * codes.words(in) + 5 * tiles.across(in)) + 8 * in;
            case Encoding.Grid<?>(Codes.Floats codes, Tiles tiles, _) ->
                    codes.type().bytesFor(out * in) + 4 * tiles.down(out) * tiles.across(in) + 256;
            case Encoding.Blocks(BlockType type) ->
                    out * Math.ceilDiv(in, (long) type.length()) * type.bytes();
        };
    }
}
