// SPDX-License-Identifier: Apache-2.0
package io.llmc.backend;

import static io.llmc.backend.ReferenceGradients.add;
import static io.llmc.backend.ReferenceOps.get;
import static io.llmc.backend.ReferenceOps.set;

import io.llmc.backend.RecurrentOp.Run;
import io.llmc.tensor.Tensor;

/// Convolutions and recurrences, row by row in double precision.
final class ReferenceRecurrences {
    private ReferenceRecurrences() {}

    static void run(RecurrentOp op) {
        switch (op) {
            case RecurrentOp.ResumeConvolve resumed ->
                    resumed.runs().forEach(run -> resume(resumed.op(), run));
        }
    }

    static void convolve(ForwardOp.Convolve op) {
        for (int row = 0; row < op.x().rows(); row += op.length()) {
            resume(op, new Run(row, op.length(), null, null));
        }
    }

    private static void resume(ForwardOp.Convolve op, Run run) {
        int taps = op.taps();
        long cols = op.x().cols();
        // The rows before, then the run's.
        double[][] rows = new double[taps - 1 + run.length()][(int) cols];
        for (int r = 0; r < rows.length; r++) {
            int t = r - taps + 1;
            for (int c = 0; c < cols; c++) {
                Tensor begin = run.begin();
                rows[r][c] =
                        t >= 0
                                ? get(op.x(), run.row() + t, c)
                                : begin == null ? 0 : get(begin, r, c);
            }
        }
        for (int t = 0; t < run.length(); t++) {
            for (int c = 0; c < cols; c++) {
                double sum = op.bias() == null ? 0 : get(op.bias(), c);
                for (int j = 0; j < taps; j++) {
                    sum += get(op.weight(), c, j) * rows[t + j][c];
                }
                set(op.out(), run.row() + t, c, sum);
            }
        }
        for (int r = 0; r < taps - 1 && run.end() != null; r++) {
            for (int c = 0; c < cols; c++) {
                set(run.end(), r, c, rows[run.length() + r][c]);
            }
        }
    }

    static void gradient(GradientOp.AccumulateConvolveGrad op) {
        int taps = (int) op.weight().cols();
        for (int row = 0; row < op.x().rows(); row++) {
            for (int j = 0; j < taps; j++) {
                int back = taps - 1 - j;
                if (row % op.length() < back) {
                    continue;
                }
                for (int c = 0; c < op.x().cols(); c++) {
                    double dout = get(op.dout(), row, c);
                    if (op.dx() != null) {
                        add(op.dx(), row - back, c, dout * get(op.weight(), c, j));
                    }
                    if (op.dweight() != null) {
                        add(op.dweight(), c, j, dout * get(op.x(), row - back, c));
                    }
                }
            }
        }
    }
}
