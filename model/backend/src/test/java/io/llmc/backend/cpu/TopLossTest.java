// SPDX-License-Identifier: Apache-2.0
package io.llmc.backend.cpu;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import io.llmc.backend.BackendOptions;
import io.llmc.backend.LossOp;
import io.llmc.tensor.DType;
import io.llmc.tensor.Tensor;
import java.lang.foreign.Arena;
import java.lang.foreign.ValueLayout;
import java.util.Random;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/// What the losses against a teacher's top k have to do with those against all of it.
class TopLossTest {
    private static final int ROWS = 9;
    private static final int V = 517;

    private record Row(double[] losses, float[] gradient) {}

    private final Random random = new Random(11);
    private final Tensor student = logits(3);
    private final Tensor teacher = logits(3);
    private final Tensor targets = tensor(DType.I32, ROWS);

    private static Tensor tensor(DType type, long... dims) {
        long size = type.bytesFor(new io.llmc.tensor.Shape(dims).size());
        return Tensor.of(Arena.ofAuto().allocate(size, 64), type, dims);
    }

    /// Each row is sharper than the one before.
    private Tensor logits(double scale) {
        Tensor t = tensor(DType.F32, ROWS, V);
        for (int i = 0; i < ROWS * V; i++) {
            float v = (float) (scale * (1 + i / V) * random.nextGaussian());
            t.bytes().setAtIndex(ValueLayout.JAVA_FLOAT, i, v);
        }
        return t;
    }

    private Row run(int k, LossOp.LossWeights w, LossOp.Missing missing) {
        Tensor gradient = tensor(DType.F32, ROWS, V);
        Tensor losses = tensor(DType.F64, ROWS, 4);
        try (CpuBackend backend =
                new CpuBackend(new BackendOptions(2, BackendOptions.Math.PORTABLE))) {
            if (k == 0) {
                backend.run(
                        new LossOp.DistillLoss(gradient, losses, student, teacher, targets, w, 1));
            } else {
                Tensor values = tensor(DType.F32, ROWS, k);
                Tensor ids = tensor(DType.I32, ROWS, k);
                backend.run(new LossOp.TopLogProbabilities(values, ids, teacher, w.temperature()));
                backend.run(
                        new LossOp.DistillTopLoss(
                                gradient, losses, student, ids, values, targets, w, missing, 1));
            }
        }
        return new Row(
                losses.bytes().toArray(ValueLayout.JAVA_DOUBLE),
                gradient.bytes().toArray(ValueLayout.JAVA_FLOAT));
    }

    private static final LossOp.LossWeights ALL =
            new LossOp.LossWeights(0.4f, 0.3f, 0.2f, 0.1f, 1.5f, 0.4f);

    @ParameterizedTest
    @ValueSource(floats = {1, 1.5f})
    void theWholeVocabularyIsTheDenseLoss(float temperature) {
        LossOp.LossWeights w = new LossOp.LossWeights(0.4f, 0.3f, 0.2f, 0.1f, temperature, 0.4f);
        Row dense = run(0, w, null);
        Row top = run(V, w, LossOp.Missing.REST);
        for (int i = 0; i < dense.losses.length; i++) {
            assertThat(top.losses[i]).isCloseTo(dense.losses[i], within(rounding(dense.losses[i])));
        }
        for (int i = 0; i < dense.gradient.length; i++) {
            double want = dense.gradient[i];
            assertThat((double) top.gradient[i]).isCloseTo(want, within(rounding(want)));
        }
    }

    /// What F32 log-probabilities may be off by.
    private static double rounding(double x) {
        return 3e-6 * Math.max(1, Math.abs(x));
    }

    /// The log-sum inequality.
    @ParameterizedTest
    @ValueSource(ints = {1, 2, 8, 64, 300, V - 1})
    void noLossIsAboveTheDenseOne(int k) {
        Row dense = run(0, ALL, null);
        Row top = run(k, ALL, LossOp.Missing.REST);
        for (int i = 0; i < dense.losses.length; i++) {
            // The reverse KL divides by 1 - sum, of which F32 leaves few digits where it is small.
            double off = i % 4 == 1 ? 1e-3 * dense.losses[i] : rounding(dense.losses[i]);
            assertThat(top.losses[i]).isBetween(0.0, dense.losses[i] + off);
        }
    }

    /// A gradient of a function of differences of logits.
    @ParameterizedTest
    @ValueSource(ints = {1, 8, 300})
    void theGradientOfARowSumsToZero(int k) {
        LossOp.LossWeights w = new LossOp.LossWeights(0.5f, 0, 0.3f, 0.2f, 2, 0.5f);
        for (LossOp.Missing missing : LossOp.Missing.values()) {
            float[] gradient = run(k, w, missing).gradient;
            for (int r = 0; r < ROWS; r++) {
                double sum = 0;
                for (int i = 0; i < V; i++) {
                    sum += gradient[r * V + i];
                }
                assertThat(sum).isCloseTo(0, within(1e-5));
            }
        }
    }

    @Test
    void aTeacherThatGivesTheRestNothingHasNoReverseKl() {
        LossOp.LossWeights w = new LossOp.LossWeights(1, 0.5f, 0, 0, 1, 0.5f);
        assertThatThrownBy(() -> run(8, w, LossOp.Missing.ZERO))
                .hasMessageContaining("is infinite");
    }
}
