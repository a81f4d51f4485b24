// SPDX-License-Identifier: Apache-2.0
package io.llmc.backend;

import static io.llmc.backend.ReferenceOps.get;
import static io.llmc.backend.ReferenceOps.set;

import java.util.Comparator;
import java.util.List;
import java.util.stream.IntStream;

/// The top k of a teacher and the losses against it as formulas, in double precision.
final class ReferenceTops {
    private ReferenceTops() {}

    static void logProbabilities(LossOp.TopLogProbabilities op) {
        int n = (int) op.logits().cols();
        for (long r = 0; r < op.logits().rows(); r++) {
            double[] x = row(op.logits(), r);
            double[] p = ReferenceGradients.softmax(x, op.temperature());
            // Adding zero makes the negative one positive; the sort is stable.
            List<Integer> order =
                    IntStream.range(0, n)
                            .boxed()
                            .sorted(Comparator.comparingDouble((Integer i) -> -(x[i] + 0.0)))
                            .toList();
            for (int j = 0; j < op.ids().cols(); j++) {
                set(op.ids(), r, j, order.get(j));
                set(op.values(), r, j, Math.log(p[order.get(j)]));
            }
        }
    }

    /// The gradient by central differences of the loss itself.
    static void loss(LossOp.DistillTopLoss op) {
        for (long r = 0; r < op.student().rows(); r++) {
            double[] s = row(op.student(), r);
            double[] losses = losses(op, r, s);
            for (int i = 0; i < 4; i++) {
                set(op.losses(), r, i, losses[i]);
            }
            for (int i = 0; i < s.length; i++) {
                double h = 1e-5;
                double before = s[i];
                s[i] = before + h;
                double up = ReferenceGradients.total(losses(op, r, s), op.weights());
                s[i] = before - h;
                double down = ReferenceGradients.total(losses(op, r, s), op.weights());
                s[i] = before;
                set(op.dlogits(), r, i, op.scale() * (up - down) / (2 * h));
            }
        }
    }

    private static double[] losses(LossOp.DistillTopLoss op, long r, double[] s) {
        LossOp.LossWeights w = op.weights();
        int k = (int) op.ids().cols();
        double[] q = ReferenceGradients.softmax(s, w.temperature());
        double[] own = new double[k + 1];
        double[] theirs = new double[k + 1];
        double sum = 0;
        for (int j = 0; j < k; j++) {
            theirs[j] = Math.exp(get(op.teacher(), r, j));
            sum += theirs[j];
            int id = (int) get(op.ids(), r, j);
            own[j] = q[id];
            q[id] = 0;
        }
        for (double rest : q) {
            own[k] += rest;
        }
        boolean rest = op.missing() == LossOp.Missing.REST;
        double most = theirs[k - 1] * (s.length - k);
        theirs[k] = rest ? Math.min(most, Math.max(1 - sum, Math.pow(2, -24))) : 0;
        double all = sum + theirs[k];
        for (int j = 0; j <= k; j++) {
            theirs[j] /= all;
        }
        double[] losses = ReferenceGradients.between(theirs, own, w);
        int target = (int) get(op.targets(), r);
        losses[3] =
                w.ce() == 0 || target < 0 ? 0 : -Math.log(ReferenceGradients.softmax(s, 1)[target]);
        return losses;
    }

    private static double[] row(io.llmc.tensor.Tensor t, long r) {
        return IntStream.range(0, (int) t.cols()).mapToDouble(i -> get(t, r, i)).toArray();
    }
}
