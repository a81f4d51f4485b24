// SPDX-License-Identifier: Apache-2.0
package io.llmc.prune.weights;

import io.llmc.backend.Desk;
import io.llmc.backend.ForwardOp;
import io.llmc.pipeline.pass.Observer;
import io.llmc.prune.shared.ColumnNorms;
import io.llmc.tensor.Tensor;

/// The root mean square of every input of a layer over the calibration tokens, and a few of these
/// tokens to measure errors with.
record InputNorms(long in) implements Observer<Tensor, InputNorms.Sum> {
    /// Tokens kept to measure errors with: few enough to cost little beside a forward pass.
    private static final int SAMPLE = 512;

    /// @param squares of every input, over tokens
    /// @param first inputs, F32 `[SAMPLE, in]`, of which as many count as there are tokens
    record Sum(ColumnNorms squares, Tensor first, long tokens) {
        /// The first inputs, F32 `[tokens, in]`.
        Tensor sample() {
            return first.rows(0, Math.min(tokens, SAMPLE));
        }

        /// `sqrt(mean_t x[t,i]^2)`
        float[] norms() {
            double[] sums = squares.values();
            float[] norms = new float[sums.length];
            for (int i = 0; i < norms.length; i++) {
                norms[i] = (float) Math.sqrt(sums[i] / Math.max(1, tokens));
            }
            return norms;
        }

        /// With tokens behind these.
        private Sum with(Tensor x, long more) {
            if (tokens < SAMPLE) {
                long rows = Math.min(x.rows(), SAMPLE - tokens);
                squares.desk()
                        .run(
                                new ForwardOp.Scale(
                                        first.rows(tokens, tokens + rows), x.rows(0, rows), 1));
            }
            return new Sum(squares, first, tokens + more);
        }
    }

    /// Bytes of the sums and the sample of layers that share their inputs.
    static long bytes(long in) {
        return (8 + 4L * SAMPLE) * in + 512;
    }

    /// Bytes of measuring an error with the sample.
    static long errorBytes(long out) {
        return 12L * SAMPLE * out + 16L * SAMPLE + 8192;
    }

    @Override
    public long bytes() {
        return bytes(in);
    }

    @Override
    public Sum empty(Desk d) {
        return new Sum(ColumnNorms.empty(d, in), d.f32(SAMPLE, in), 0);
    }

    @Override
    public Sum see(Sum s, Tensor x) {
        s.squares.add(x, 2);
        return s.with(x, x.rows());
    }

    @Override
    public Sum merge(Sum a, Sum b) {
        a.squares.add(b.squares);
        return b.tokens == 0 ? a : a.with(b.sample(), b.tokens);
    }
}
