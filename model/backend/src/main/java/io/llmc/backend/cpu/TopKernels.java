// SPDX-License-Identifier: Apache-2.0
package io.llmc.backend.cpu;

import static io.llmc.backend.cpu.Lanes.F;
import static io.llmc.backend.cpu.Lanes.F32;
import static io.llmc.backend.cpu.Lanes.F64;
import static io.llmc.backend.cpu.Lanes.I32;
import static io.llmc.backend.cpu.Lanes.N;

import io.llmc.backend.LossOp;
import io.llmc.backend.LossOp.LossWeights;
import io.llmc.tensor.DType;
import java.util.Arrays;
import jdk.incubator.vector.FloatVector;

/// The most likely tokens of a teacher, and a student's losses against them; a row is a tile.
final class TopKernels {
    /// What a sum of F32 probabilities may lack of 1 by rounding alone.
    private static final double LEAST_REST = 0x1p-24;

    /// A log-probability of nothing that can still be multiplied by zero.
    private static final float NOTHING = -1e4f;

    private final Workers workers;

    TopKernels(Workers workers) {
        this.workers = workers;
    }

    void logProbabilities(LossOp.TopLogProbabilities op) {
        int n = Math.toIntExact(op.logits().cols());
        int k = Math.toIntExact(op.ids().cols());
        workers.forEach(
                Math.toIntExact(op.logits().rows()),
                (row, scratch) -> {
                    float[] x = scratch.floats(0, n);
                    Lanes.read(x, 0, op.logits().bytes(), DType.F32, (long) row * n, n);
                    long[] top = top(x, n, k);
                    DistillLossKernel.divide(x, n, op.temperature());
                    double sum = LossKernels.logSum(x, n, scratch);
                    for (int j = 0; j < k; j++) {
                        int id = ~(int) top[k - 1 - j];
                        long at = 4L * ((long) row * k + j);
                        op.ids().bytes().set(I32, at, id);
                        op.values().bytes().set(F32, at, (float) (x[id] - sum));
                    }
                });
    }

    /// The k greatest keys, rising: a heap whose root is the least of them.
    private static long[] top(float[] x, int n, int k) {
        long[] heap = new long[k];
        for (int i = 0; i < k; i++) {
            heap[i] = key(x[i], i);
        }
        // A sorted array is a heap.
        Arrays.sort(heap);
        float least = x[~(int) heap[0]];
        for (int i = k; i < n; i++) {
            // One that is as large as the least has a higher id.
            if (x[i] > least) {
                sink(heap, key(x[i], i));
                least = x[~(int) heap[0]];
            }
        }
        Arrays.sort(heap);
        return heap;
    }

    /// Orders by value, then by falling id, which is in the lower half.
    private static long key(float x, int id) {
        int bits = Float.floatToIntBits(x + 0f); // -0 is 0
        int ordered = bits ^ ((bits >> 31) & 0x7fffffff);
        return ((long) ordered << 32) | (~id & 0xffffffffL);
    }

    /// Puts a key in the place of the least.
    private static void sink(long[] heap, long key) {
        int at = 0;
        for (int child = 1; child < heap.length; child = 2 * at + 1) {
            if (child + 1 < heap.length && heap[child + 1] < heap[child]) {
                child++;
            }
            if (heap[child] >= key) {
                break;
            }
            heap[at] = heap[child];
            at = child;
        }
        heap[at] = key;
    }

    void loss(LossOp.DistillTopLoss op) {
        workers.forEach(
                Math.toIntExact(op.student().rows()), (row, scratch) -> loss(op, row, scratch));
    }

    private static void loss(LossOp.DistillTopLoss op, int row, Scratch scratch) {
        int n = Math.toIntExact(op.student().cols());
        LossWeights weights = op.weights();
        float[] s = scratch.floats(0, Lanes.padded(n));
        float[] d = scratch.floats(1, Lanes.padded(n));
        long at = (long) row * n;
        Lanes.read(s, 0, op.student().bytes(), DType.F32, at, n);
        Arrays.fill(d, 0, Lanes.padded(n), 0);
        double[] losses = new double[4];
        int target = op.targets().bytes().get(I32, 4L * row);
        if (weights.ce() != 0 && target >= 0) {
            losses[3] =
                    DistillLossKernel.crossEntropy(
                            s, d, n, target, weights.ce() * op.scale(), scratch);
        }
        if (weights.asksTeacher()) {
            DistillLossKernel.divide(s, n, weights.temperature());
            against(op, row, s, d, n, losses, scratch);
        }
        Lanes.write(op.dlogits().bytes(), DType.F32, at, d, 0, n);
        for (int i = 0; i < 4; i++) {
            op.losses().bytes().set(F64, 8L * (4L * row + i), losses[i]);
        }
    }

    /// Compares over the outcomes, then hands the gradient of the rest's to its tokens.
    private static void against(
            LossOp.DistillTopLoss op,
            int row,
            float[] s,
            float[] d,
            int n,
            double[] losses,
            Scratch scratch) {
        int k = Math.toIntExact(op.ids().cols());
        int outcomes = k < n ? k + 1 : k;
        int padded = Lanes.padded(outcomes);
        float[] own = scratch.floats(5, padded);
        float[] theirs = scratch.floats(6, padded);
        float[] gradient = scratch.floats(7, padded);
        float[] rest = scratch.floats(8, Lanes.padded(n));
        Arrays.fill(gradient, 0, padded, 0);
        System.arraycopy(s, 0, rest, 0, n);
        int[] ids = scratch.words(k);
        double sum = 0;
        for (int j = 0; j < k; j++) {
            long place = 4L * ((long) row * k + j);
            ids[j] = op.ids().bytes().get(I32, place);
            theirs[j] = op.teacher().bytes().get(F32, place);
            sum += StrictMath.exp(theirs[j]);
            own[j] = s[ids[j]];
            rest[ids[j]] = Float.NEGATIVE_INFINITY;
        }
        if (k < n) {
            own[k] = (float) LossKernels.logSum(rest, n, scratch);
            theirs[k] =
                    switch (op.missing()) {
                        case REST -> (float) logRest(sum, theirs[k - 1], n - k);
                        case ZERO -> NOTHING;
                    };
        }
        DistillLossKernel.against(
                own, theirs, gradient, outcomes, op.weights(), op.scale(), losses, scratch);
        if (k < n) {
            for (int i = 0; i < n; i += N) {
                FloatVector share = Exp.exp(FloatVector.fromArray(F, rest, i).sub(own[k]));
                share.fma(FloatVector.broadcast(F, gradient[k]), FloatVector.fromArray(F, d, i))
                        .intoArray(d, i);
            }
        }
        for (int j = 0; j < k; j++) {
            d[ids[j]] += gradient[j];
        }
    }

    /// @param sum of the top k
    /// @param least log-probability among them
    /// @param others tokens in the rest
    private static double logRest(double sum, float least, int others) {
        return Math.min(
                StrictMath.log(Math.max(1 - sum, LEAST_REST)), least + StrictMath.log(others));
    }
}
