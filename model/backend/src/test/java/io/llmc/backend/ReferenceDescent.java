// SPDX-License-Identifier: Apache-2.0
package io.llmc.backend;

import static io.llmc.backend.ReferenceOps.get;
import static io.llmc.backend.ReferenceOps.set;

import io.llmc.tensor.Floats;

/// Coordinate descent, row by row.
final class ReferenceDescent {
    private final CompressionOp.AccumulateDescent op;
    private final long row;
    private final int n;
    private final double zero;
    private final double[] r;
    private final double[] code;
    private double scale;

    private ReferenceDescent(CompressionOp.AccumulateDescent op, long row) {
        this.op = op;
        this.row = row;
        this.n = op.to() - op.from();
        this.zero = get(op.zeros(), row, op.group());
        this.scale = get(op.scales(), row, op.group());
        this.r = new double[n];
        this.code = new double[n];
        for (int j = 0; j < n; j++) {
            r[j] = get(op.r(), row, op.from() + j);
            code[j] = get(op.codes(), row, op.from() + j);
        }
    }

    static void run(CompressionOp.AccumulateDescent op) {
        for (long row = 0; row < op.r().rows(); row++) {
            new ReferenceDescent(op, row).run();
        }
    }

    private double h(int j, int k) {
        return get(op.h(), op.from() + j, op.from() + k);
    }

    private double value(double codeOf, double scaleOf) {
        return Floats.round((float) ((codeOf - zero) * scaleOf), op.scales().dtype());
    }

    private void run() {
        double[] was = new double[n];
        for (int j = 0; j < n; j++) {
            was[j] = value(code[j], scale);
        }
        for (int j = 0; j < n; j++) {
            double now = value(code[j], scale);
            double best = Math.rint((now - r[j] / h(j, j)) / scale) + zero;
            code[j] = Math.clamp(best, 0, op.spec().codes().maxCode());
            for (int k = 0; k < n; k++) {
                r[k] += (value(code[j], scale) - now) * h(j, k);
            }
        }
        refit();
        for (int j = 0; j < n; j++) {
            set(op.errors(), row, j, was[j] - value(code[j], scale));
            set(op.codes(), row, op.from() + j, code[j]);
        }
        set(op.scales(), row, op.group(), scale);
    }

    private void refit() {
        double slope = 0;
        double bend = 0;
        for (int j = 0; j < n; j++) {
            slope += (code[j] - zero) * r[j];
            for (int k = 0; k < n; k++) {
                bend += (code[j] - zero) * h(j, k) * (code[k] - zero);
            }
        }
        double fitted = Floats.round((float) (scale - slope / bend), op.scales().dtype());
        double gain = 0;
        for (int j = 0; j < n; j++) {
            double change = value(code[j], fitted) - value(code[j], scale);
            gain += 2 * change * r[j];
            for (int k = 0; k < n; k++) {
                gain += change * h(j, k) * (value(code[k], fitted) - value(code[k], scale));
            }
        }
        if (gain < 0 && bend > 0 && fitted * scale > 0) {
            scale = fitted;
        }
    }
}
