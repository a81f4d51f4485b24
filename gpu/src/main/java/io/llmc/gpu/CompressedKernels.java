// SPDX-License-Identifier: Apache-2.0
package io.llmc.gpu;

import io.llmc.backend.CompressedOp;
import io.llmc.backend.GradientOp;
import io.llmc.backend.SparseOp.Keys;
import io.llmc.gpu.KeySource.Sequence;
import io.llmc.gpu.driver.Gpu;
import io.llmc.gpu.driver.Grid;
import io.llmc.tensor.Tensor;
import java.util.List;

/// Keys of several tokens: a block has 32 channels of one of them. Memory limits them.
final class CompressedKernels {
    private static final int CHANNELS = 32;
    private static final int THREADS = 256;

    private final Gpu gpu;
    private final Kernels kernels;

    CompressedKernels(Gpu gpu) {
        this.gpu = gpu;
        kernels = new Kernels(gpu, "compressed");
    }

    void compress(CompressedOp.Compress op) {
        int dim = Math.toIntExact(op.out().cols());
        List<Sequence> sequences = KeySource.sequences(op.tokens());
        compress(op.out(), op.tokens(), op.places(), dim, false, sequences);
    }

    /// Keys of whole blocks alone, at each sequence's part of `out`.
    void pool(Gpu.Scratch out, Keys keys, Tensor places, int dim, List<Sequence> sequences) {
        compress(out, keys, places, dim, true, sequences);
    }

    private void compress(
            Object out,
            Keys tokens,
            Tensor places,
            int dim,
            boolean dense,
            List<Sequence> sequences) {
        int rate = Math.toIntExact(places.rows());
        for (List<Sequence> some : KeySource.launches(sequences)) {
            int entries =
                    some.stream()
                            .mapToInt(s ->
                                    Math.ceilDiv(s.keys(), rate)
                                            - (dense ? 0 : (s.keys() - s.length()) / rate))
                            .max()
                            .orElse(0);
            kernels.launch(
                    "compress",
                    Grid.blocks(Math.ceilDiv(dim, CHANNELS), entries, some.size(), THREADS),
                    out,
                    KeySource.packed(tokens, 1),
                    places,
                    Types.of(places),
                    rate,
                    dim,
                    Math.toIntExact(places.cols()),
                    dense ? 1 : 0,
                    KeySource.packed(some));
        }
    }

    void gradient(GradientOp.AccumulateCompressGrad op) {
        Keys.Whole tokens = (Keys.Whole) op.forward().tokens();
        Tensor places = op.forward().places();
        int rate = op.forward().rate();
        int dim = Math.toIntExact(op.dout().cols());
        int cols = Math.toIntExact(places.cols());
        int length = tokens.length();
        int sequences = Math.toIntExact(tokens.x().rows() / length);
        long numbers = op.dplaces() == null ? 1 : tokens.x().rows() * cols;
        try (Gpu.Scratch gates = gpu.scratch(4 * numbers)) {
            kernels.launch(
                    "compress_grad",
                    Grid.blocks(Math.ceilDiv(dim, CHANNELS), length / rate, sequences, THREADS),
                    op.dtokens(),
                    op.dplaces() == null ? null : gates,
                    op.dout(),
                    tokens.x(),
                    places,
                    Types.of(places),
                    rate,
                    dim,
                    cols,
                    length);
            if (op.dplaces() != null) {
                kernels.launch(
                        "compress_places_grad",
                        Grid.blocks(Math.ceilDiv(cols, CHANNELS), rate, THREADS),
                        op.dplaces(),
                        gates,
                        rate,
                        dim,
                        cols,
                        length,
                        sequences);
            }
        }
    }
}
