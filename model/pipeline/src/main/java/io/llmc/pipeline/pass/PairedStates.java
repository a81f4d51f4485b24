// SPDX-License-Identifier: Apache-2.0
package io.llmc.pipeline.pass;

import com.google.errorprone.annotations.MustBeClosed;
import io.llmc.backend.Desk;
import io.llmc.backend.ForwardOp;
import io.llmc.model.Stage;
import io.llmc.model.Tap;
import io.llmc.tensor.Tensor;
import java.util.ArrayList;
import java.util.List;

/// The same sequences before one stage of two models: the compressed one, and the original.
///
/// Not for routed stages, where the two may send a token to different experts.
///
/// @param own of the compressed model
/// @param originals of the original one
public record PairedStates(HiddenStates own, HiddenStates originals) {
    /// As [HiddenStates#observe], beside what the original's layers read.
    @MustBeClosed
    @SuppressWarnings("MustBeClosed") // the caller closes it
    public <S> SumTree<LayerInput, S> observe(
            Stage stage, Stage original, Observer<LayerInput, S> observer) {
        SumTree<LayerInput, S> sums = new SumTree<>(observer, own.backend());
        try {
            for (int c = 0; c < own.chunks(); c++) {
                observe(stage, original, c, sums);
            }
            return sums;
        } catch (RuntimeException | Error e) {
            sums.close();
            throw e;
        }
    }

    /// Bytes of the device for a chunk of the original's.
    ///
    /// @param in columns of all inputs of a stage together
    public static long bytes(long rows, long in, long hidden) {
        return 4 * rows * (in + 2 * hidden) + (1 << 14);
    }

    @SuppressWarnings("MustBeClosed") // the desk closes its arena
    private void observe(Stage stage, Stage original, int chunk, SumTree<LayerInput, ?> sums) {
        long in =
                stage.groups().stream()
                        .mapToLong(layers -> layers.getFirst().weight().inFeatures())
                        .sum();
        try (Desk d =
                new Desk(
                        own.backend(),
                        own.backend().newArena(bytes(own.chunkRows(), in, own.hidden())))) {
            List<Tensor> read = new ArrayList<>();
            List<Tensor> streams = new ArrayList<>();
            Tap reading = (_, x) -> read.add(copy(d, x));
            originals.show(original, chunk, reading, x -> streams.add(copy(d, x)));
            Tensor lag = d.f32(streams.getFirst().rows(), own.hidden());
            Tap pairing =
                    (layers, x) ->
                            sums.see(
                                    chunk,
                                    new LayerInput(
                                            layers,
                                            x,
                                            null,
                                            new LayerInput.Original(read.removeFirst(), lag)));
            own.show(
                    stage,
                    chunk,
                    pairing,
                    x -> d.run(new ForwardOp.Add(lag, streams.getFirst(), x, -1)));
        }
    }

    private static Tensor copy(Desk d, Tensor x) {
        Tensor copy = d.f32(x.rows(), x.cols());
        d.run(new ForwardOp.Scale(copy, x, 1));
        return copy;
    }
}
