// SPDX-License-Identifier: Apache-2.0
package io.llmc.distill.training;

import static org.assertj.core.api.Assertions.assertThat;

import io.llmc.backend.Backend;
import io.llmc.backend.BackendOptions;
import io.llmc.backend.TensorArena;
import io.llmc.backend.cpu.CpuBackend;
import io.llmc.distill.spec.AdamState;
import io.llmc.distill.spec.DistillSpec;
import io.llmc.distill.spec.DistillSpec.Algorithm;
import io.llmc.distill.spec.Parameter;
import io.llmc.tensor.DType;
import io.llmc.tensor.Shape;
import io.llmc.tensor.Tensor;
import java.lang.foreign.ValueLayout;
import java.util.List;
import java.util.Random;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.ValueSource;

/// Many steps of the optimizer against its formulas in double precision.
class OptimizerTest {
    private static final float RATE = 1e-2f;

    private final Backend backend =
            new CpuBackend(new BackendOptions(2, BackendOptions.Math.PORTABLE));
    private TensorArena arena;

    @BeforeEach
    @SuppressWarnings("MustBeClosed") // closed by close()
    void open() {
        arena = backend.newArena(1 << 24);
    }

    @AfterEach
    void close() {
        arena.close();
        backend.close();
    }

    private Parameter parameter(Algorithm algorithm, long... dims) {
        Tensor values = arena.allocate(DType.F32, new Shape(dims));
        return Parameter.of("w", values, algorithm, arena, backend);
    }

    private static float get(Tensor t, long i) {
        return t.bytes().getAtIndex(ValueLayout.JAVA_FLOAT, i);
    }

    private static void set(Tensor t, long i, double v) {
        t.bytes().setAtIndex(ValueLayout.JAVA_FLOAT, i, (float) v);
    }

    /// The same of a plain array.
    private static final class Reference {
        final double[] w;
        final double[] m;
        final double[] v;

        Reference(int n) {
            w = new double[n];
            m = new double[n];
            v = new double[n];
        }

        void step(double[] g, double factor, DistillSpec.Adam adam, double decay, int t) {
            double b1 = adam.beta1();
            double b2 = adam.beta2();
            for (int i = 0; i < w.length; i++) {
                double scaled = factor * g[i];
                m[i] = b1 * m[i] + (1 - b1) * scaled;
                v[i] = b2 * v[i] + (1 - b2) * scaled * scaled;
                double mean = m[i] / (1 - Math.pow(b1, t));
                double square = v[i] / (1 - Math.pow(b2, t));
                w[i] -= RATE * (mean / (Math.sqrt(square) + adam.eps()) + decay * w[i]);
            }
        }
    }

    /// With a limit that no gradient reaches, that some reach, and without one. A matrix is pulled
    /// towards zero, a vector is not.
    @ParameterizedTest
    @ValueSource(floats = {1e9f, 40, 0})
    void aHundredStepsAreTheFormulas(float clip) {
        DistillSpec.Adam adam =
                new DistillSpec.Adam(Algorithm.ADAMW, 0.9f, 0.999f, 1e-8f, 0.1f, clip);
        List<Parameter> parameters =
                List.of(
                        parameter(Algorithm.ADAMW, 13, 77),
                        parameter(Algorithm.ADAMW, 333),
                        parameter(Algorithm.ADAMW, 1, 1));
        Random random = new Random(5);
        List<Reference> references =
                parameters.stream().map(p -> new Reference((int) p.size())).toList();
        for (int k = 0; k < 3; k++) {
            for (int i = 0; i < references.get(k).w.length; i++) {
                set(parameters.get(k).values(), i, random.nextGaussian());
                references.get(k).w[i] = get(parameters.get(k).values(), i);
            }
        }
        Optimizer optimizer = new Optimizer(parameters, adam, backend);
        int clipped = 0;
        for (int step = 1; step <= 100; step++) {
            double[][] gradients = new double[3][];
            double squares = 0;
            for (int k = 0; k < 3; k++) {
                gradients[k] = new double[references.get(k).w.length];
                for (int i = 0; i < gradients[k].length; i++) {
                    double size = 1 + 0.2 * Math.sin(step);
                    set(parameters.get(k).gradient(), i, size * random.nextGaussian());
                    gradients[k][i] = get(parameters.get(k).gradient(), i);
                    squares += gradients[k][i] * gradients[k][i];
                }
            }
            double norm = optimizer.gradientNorm();
            assertThat(norm)
                    .isCloseTo(
                            Math.sqrt(squares),
                            org.assertj.core.data.Percentage.withPercentage(1e-6));
            double factor = clip > 0 && norm > clip ? clip / norm : 1;
            clipped += factor < 1 ? 1 : 0;
            optimizer.step(step, RATE, norm);
            for (int k = 0; k < 3; k++) {
                references.get(k).step(gradients[k], factor, adam, k == 1 ? 0 : adam.decay(), step);
            }
        }
        assertThat(clipped > 0 && clipped < 100).isEqualTo(clip == 40);
        for (int k = 0; k < 3; k++) {
            AdamState.Full state = (AdamState.Full) parameters.get(k).adam();
            assertClose(parameters.get(k).values(), references.get(k).w);
            assertClose(state.m(), references.get(k).m);
            assertClose(state.v(), references.get(k).v);
        }
    }

    private static void assertClose(Tensor got, double[] want) {
        double most = 0;
        double worst = 0;
        for (int i = 0; i < want.length; i++) {
            most = Math.max(most, Math.abs(want[i]));
            worst = Math.max(worst, Math.abs(want[i] - get(got, i)));
        }
        assertThat(worst / most).isLessThan(1e-6);
    }

    /// A regression whose 5,000 weights have slopes of very different sizes.
    @Test
    void eightBitsLearnAsFast() {
        double full = regression(Algorithm.ADAMW);
        double eight = regression(Algorithm.ADAMW8BIT);
        assertThat(full).isLessThan(0.1);
        assertThat(eight).isCloseTo(full, org.assertj.core.data.Percentage.withPercentage(5));
    }

    /// @return what is left of the squared error after 100 steps
    private double regression(Algorithm algorithm) {
        int n = 5000;
        Parameter p = parameter(algorithm, 50, 100);
        assertThat(p.adam())
                .isInstanceOf(
                        algorithm == Algorithm.ADAMW
                                ? AdamState.Full.class
                                : AdamState.Blockwise.class);
        DistillSpec.Adam adam = new DistillSpec.Adam(algorithm, 0.9f, 0.999f, 1e-8f, 0, 0);
        Optimizer optimizer = new Optimizer(List.of(p), adam, backend);
        Random random = new Random(9);
        double[] want = new double[n];
        double[] slope = new double[n];
        for (int i = 0; i < n; i++) {
            want[i] = random.nextGaussian();
            slope[i] = Math.exp(random.nextGaussian());
        }
        double first = 0;
        for (int step = 1; step <= 101; step++) {
            double loss = 0;
            for (int i = 0; i < n; i++) {
                double d = get(p.values(), i) - want[i];
                loss += slope[i] * d * d;
                set(p.gradient(), i, 2 * slope[i] * (d + 0.1 * random.nextGaussian()));
            }
            first = step == 1 ? loss : first;
            if (step == 101) {
                return loss / first;
            }
            optimizer.step(step, 0.03f, optimizer.gradientNorm());
        }
        throw new AssertionError();
    }

    /// No more is taken of an arena than is asked for, and 8 bits take little.
    @ParameterizedTest
    @EnumSource(Algorithm.class)
    void aStateHasTheBytesThatItIsSaidToHave(Algorithm algorithm) {
        for (long n : new long[] {1, 4095, 4096, 4097, 100_000}) {
            List<Tensor> tensors = parameter(algorithm, n).adam().tensors();
            long bytes = tensors.stream().mapToLong(Tensor::byteSize).sum();
            long most = AdamState.bytes(algorithm, n);
            assertThat(bytes + AdamState.ALIGN * tensors.size()).isEqualTo(most);
            boolean eight = algorithm == Algorithm.ADAMW8BIT && n >= 4096;
            assertThat(bytes / (double) n).isBetween(eight ? 2.0 : 8.0, eight ? 2.04 : 8.0);
        }
    }
}
