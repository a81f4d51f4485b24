// SPDX-License-Identifier: Apache-2.0
package io.llmc.gpu;

import io.llmc.backend.RecurrentOp.Decay;
import io.llmc.backend.RecurrentOp.DeltaRule;
import io.llmc.backend.RecurrentOp.Heads;
import io.llmc.backend.RecurrentOp.Run;
import io.llmc.backend.RecurrentOp.SelectiveScan;
import io.llmc.backend.RecurrentOp.StateSpace;
import io.llmc.backend.RecurrentOp.Steps;
import io.llmc.formats.UserException;
import io.llmc.gpu.driver.CudaBuffer;
import io.llmc.gpu.driver.Gpu;
import io.llmc.gpu.driver.Grid;
import io.llmc.tensor.Tensor;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.List;

/// Recurrences whose state is a matrix for each head, in F32. A block takes some columns of one
/// head's state through a sequence, in registers. How long a row takes limits them, since rows wait
/// for each other: about 4 * keyDim * valueDim operations a head and row are far fewer than a
/// device does meanwhile, unless there are many heads.
final class RecurrentKernels {
    /// Sequences of a launch, and the bytes that each takes of its parameters (`Runs` in
    /// recurrences.cu).
    private static final int RUNS = 64;

    private static final int RUN_BYTES = 24;

    private static final int THREADS = 128;

    /// Of a block that scans, and numbers of a channel's state up to which there are kernels.
    private static final int CHANNELS = 32;

    private static final int FEW_STATES = 16;
    private static final int MOST_STATES = 64;

    /// Rows of a state up to which there are kernels.
    private static final int[] PITCHES = {32, 128, 256, 1024};

    private final Kernels kernels;

    RecurrentKernels(Gpu gpu) {
        kernels = new Kernels(gpu, "recurrences");
    }

    void deltaRule(DeltaRule op) {
        Decay decay = op.decay();
        boolean byChannel = decay.byChannel(op.heads());
        launch(
                byChannel ? "delta_rule_channels_" : "delta_rule_",
                byChannel,
                op.heads(),
                op.runs(),
                op.out(),
                op.q(),
                op.k(),
                op.v(),
                decay.x(),
                parameter(decay.rate()),
                parameter(decay.bias()),
                decay.bound(),
                op.beta());
    }

    void stateSpace(StateSpace op) {
        Steps steps = op.steps();
        launch(
                "state_space_",
                false,
                op.heads(),
                op.runs(),
                op.out(),
                op.q(),
                op.k(),
                op.v(),
                steps.x(),
                parameter(steps.rate()),
                parameter(steps.bias()),
                steps.least(),
                steps.most(),
                parameter(op.skip()));
    }

    /// An exponential for each number of a state and row limits it, where there are channels
    /// enough.
    void selectiveScan(SelectiveScan op) {
        int states = Math.toIntExact(op.b().cols());
        if (states > MOST_STATES) {
            throw new UserException(
                    "a GPU takes states of up to %d numbers a channel, not %d"
                            .formatted(MOST_STATES, states),
                    "pass {device} cpu");
        }
        int channels = Math.toIntExact(op.out().cols());
        for (int i = 0; i < op.runs().size(); i += RUNS) {
            List<Run> some = op.runs().subList(i, Math.min(op.runs().size(), i + RUNS));
            kernels.launch(
                    states <= FEW_STATES ? "selective_scan_16" : "selective_scan_64",
                    Grid.blocks(Math.ceilDiv(channels, CHANNELS), 1, some.size(), THREADS),
                    AttentionKernels.flat(
                            op.out(),
                            op.x(),
                            op.step(),
                            op.b(),
                            op.c(),
                            parameter(op.rate()),
                            parameter(op.skip()),
                            channels,
                            states,
                            packed(some)));
        }
    }

    private static Object[] parameter(Tensor t) {
        return new Object[] {t, Types.of(t)};
    }

    private void launch(
            String kernel, boolean byChannel, Heads heads, List<Run> runs, Object... arguments) {
        int pitch = pitch(heads.keyDim());
        int columns = 2 * THREADS / (pitch > 256 ? 32 : 8);
        int rows = pitch > 256 ? 4 : 16;
        long shared = 4L * rows * ((byChannel ? 3 : 2) * pitch + columns + 2);
        for (int i = 0; i < runs.size(); i += RUNS) {
            List<Run> some = runs.subList(i, Math.min(runs.size(), i + RUNS));
            kernels.launch(
                    kernel + pitch,
                    Grid.blocks(
                                    Math.ceilDiv(heads.valueDim(), columns),
                                    heads.values(),
                                    some.size(),
                                    THREADS)
                            .withShared(shared),
                    AttentionKernels.flat(
                            AttentionKernels.flat(arguments),
                            heads.keys(),
                            heads.values(),
                            heads.keyDim(),
                            heads.valueDim(),
                            packed(some)));
        }
    }

    private static int pitch(int keyDim) {
        for (int pitch : PITCHES) {
            if (keyDim <= pitch) {
                return pitch;
            }
        }
        throw new UserException(
                "a GPU takes states of up to %d rows a head, not %d"
                        .formatted(PITCHES[PITCHES.length - 1], keyDim),
                "pass {device} cpu");
    }

    private static byte[] packed(List<Run> runs) {
        ByteBuffer bytes = ByteBuffer.allocate(RUNS * RUN_BYTES).order(ByteOrder.nativeOrder());
        for (Run run : runs) {
            bytes.putLong(address(run.begin()))
                    .putLong(address(run.end()))
                    .putInt(run.row())
                    .putInt(run.length());
        }
        return bytes.array();
    }

    private static long address(Tensor t) {
        return t == null ? 0 : CudaBuffer.address(t);
    }
}
