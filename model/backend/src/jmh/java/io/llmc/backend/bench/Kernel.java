// SPDX-License-Identifier: Apache-2.0
package io.llmc.backend.bench;

import io.llmc.backend.AttentionSpec;
import io.llmc.backend.Backend;
import io.llmc.backend.CompressionOp;
import io.llmc.backend.CompressionOp.AccumulateObsBlock;
import io.llmc.backend.ForwardOp;
import io.llmc.backend.LossOp;
import io.llmc.backend.Op;
import io.llmc.backend.StatisticOp;
import io.llmc.backend.TensorArena;
import io.llmc.tensor.Codes;
import io.llmc.tensor.DType;
import io.llmc.tensor.Encoding;
import io.llmc.tensor.Shape;
import io.llmc.tensor.Tensor;
import io.llmc.tensor.Weight;
import java.lang.foreign.ValueLayout;
import java.util.Random;

/// An operation at the size that it has in a small model, and the work that it is.
enum Kernel {
    MATMUL_F32(flops(512, 1536, 576)) {
        @Override
        Runnable prepare(Backend b, TensorArena a) {
            return matmul(b, a, 512, dense(b, a, DType.F32, 1536, 576));
        }
    },
    MATMUL_BF16(flops(512, 1536, 576)) {
        @Override
        Runnable prepare(Backend b, TensorArena a) {
            return matmul(b, a, 512, dense(b, a, DType.BF16, 1536, 576));
        }
    },
    MATMUL_4_BITS(flops(512, 1536, 576)) {
        @Override
        Runnable prepare(Backend b, TensorArena a) {
            return matmul(b, a, 512, packed(b, a, 4, 1536, 576));
        }
    },
    MATMUL_LARGE_F32(flops(512, 4096, 4096)) {
        @Override
        Runnable prepare(Backend b, TensorArena a) {
            return matmul(b, a, 512, dense(b, a, DType.F32, 4096, 4096));
        }
    },
    MATMUL_LARGE_4_BITS(flops(512, 4096, 4096)) {
        @Override
        Runnable prepare(Backend b, TensorArena a) {
            return matmul(b, a, 512, packed(b, a, 4, 4096, 4096));
        }
    },
    ONE_ROW_F32(bytes(4.0 * 8192 * 2048)) {
        @Override
        Runnable prepare(Backend b, TensorArena a) {
            return matmul(b, a, 1, dense(b, a, DType.F32, 8192, 2048));
        }
    },
    ONE_ROW_4_BITS(bytes(0.5 * 8192 * 2048)) {
        @Override
        Runnable prepare(Backend b, TensorArena a) {
            return matmul(b, a, 1, packed(b, a, 4, 8192, 2048));
        }
    },
    HEAD_BF16(flops(256, 49152, 576)) {
        @Override
        Runnable prepare(Backend b, TensorArena a) {
            return matmul(b, a, 256, dense(b, a, DType.BF16, 49152, 576));
        }
    },
    ATTENTION(2.0 * 2048 * 512 * 9 * 64, true) {
        @Override
        Runnable prepare(Backend b, TensorArena a) {
            Tensor q = normal(a, 2048, 576);
            Tensor k = normal(a, 2048, 192);
            Tensor v = normal(a, 2048, 192);
            var spec =
                    new AttentionSpec(
                            new AttentionSpec.Heads(9, 3, 64, 64),
                            new AttentionSpec.Reach(512, 512, 0, 0),
                            0.125f,
                            0);
            Tensor out = a.allocate(DType.F32, q.shape());
            Op op = new ForwardOp.Attention(out, q, k, v, null, null, spec);
            return () -> b.run(op);
        }
    },
    GATED_SILU(bytes(3.0 * 4 * 2048 * 1536)) {
        @Override
        Runnable prepare(Backend b, TensorArena a) {
            Tensor gate = normal(a, 2048, 1536);
            Tensor up = normal(a, 2048, 1536);
            Op op =
                    new ForwardOp.Gated(
                            a.allocate(DType.F32, up.shape()), gate, up, ForwardOp.Activation.SILU);
            return () -> b.run(op);
        }
    },
    RMS_NORM(bytes(2.0 * 4 * 2048 * 576)) {
        @Override
        Runnable prepare(Backend b, TensorArena a) {
            Tensor x = normal(a, 2048, 576);
            Tensor w = normal(a, 1, 576).reshape(576);
            Op op = new ForwardOp.RmsNorm(a.allocate(DType.F32, x.shape()), x, w, 1e-5f, 0);
            return () -> b.run(op);
        }
    },
    NEGATIVE_LOG_LIKELIHOOD(bytes(4.0 * 256 * 49152)) {
        @Override
        Runnable prepare(Backend b, TensorArena a) {
            Tensor logits = normal(a, 256, 49152);
            Tensor targets = a.allocate(DType.I32, new Shape(256));
            Tensor out = a.allocate(DType.F32, new Shape(256));
            Op op = new LossOp.NegativeLogLikelihood(out, logits, targets);
            return () -> b.run(op);
        }
    },
    /// One triangle of the operations, as it is computed.
    GRAM(2048.0 * 1536 * 1536, true) {
        @Override
        Runnable prepare(Backend b, TensorArena a) {
            Tensor x = normal(a, 2048, 1536);
            Op op =
                    new StatisticOp.AccumulateGram(
                            a.allocate(DType.F32, new Shape(1536, 1536)), x, 1);
            return () -> b.run(op);
        }
    },
    GRAM_LARGE(2048.0 * 5632 * 5632, true) {
        @Override
        Runnable prepare(Backend b, TensorArena a) {
            Tensor x = normal(a, 2048, 5632);
            Op op =
                    new StatisticOp.AccumulateGram(
                            a.allocate(DType.F32, new Shape(5632, 5632)), x, 1);
            return () -> b.run(op);
        }
    },
    CHOLESKY_INVERSE(2.0 / 3 * 1536 * 1536 * 1536, true) {
        @Override
        Runnable prepare(Backend b, TensorArena a) {
            return cholesky(b, a, 1536);
        }
    },
    CHOLESKY_INVERSE_LARGE(2.0 / 3 * 5632 * 5632 * 5632, true) {
        @Override
        Runnable prepare(Backend b, TensorArena a) {
            return cholesky(b, a, 5632);
        }
    },
    /// One triangle of the operations, as it is computed.
    QUADRATIC_FORM(576.0 * 1536 * 1536, true) {
        @Override
        Runnable prepare(Backend b, TensorArena a) {
            return quadraticForm(b, a, 576, 1536);
        }
    },
    QUADRATIC_FORM_LARGE(2048.0 * 5632 * 5632, true) {
        @Override
        Runnable prepare(Backend b, TensorArena a) {
            return quadraticForm(b, a, 2048, 5632);
        }
    },
    /// Updates of the columns that follow in the block.
    OBS_BLOCK(2048.0 * 128 * 128, true) {
        @Override
        Runnable prepare(Backend b, TensorArena a) {
            Tensor w = normal(a, 2048, 512);
            Tensor codes = a.allocate(DType.U8, w.shape());
            Tensor scales = a.allocate(DType.F32, new Shape(2048, 8));
            Tensor zeros = a.allocate(DType.U8, scales.shape());
            b.run(new CompressionOp.ChooseGrid(scales, zeros, w, null, GRID, 0, null, 0, 8));
            Tensor groupOf = a.allocate(DType.I32, new Shape(512));
            for (int i = 0; i < 512; i++) {
                groupOf.bytes().setAtIndex(ValueLayout.JAVA_INT, i, i / 64);
            }
            var grid = new AccumulateObsBlock.Grid(codes, scales, zeros, groupOf, GRID);
            Op op =
                    new AccumulateObsBlock(
                            a.allocate(DType.F32, new Shape(2048, 128)),
                            w,
                            factor(b, a, 512),
                            grid,
                            null,
                            128,
                            256);
            return () -> b.run(op);
        }
    },
    OBS_SPREAD(flops(2048, 128, 4096)) {
        @Override
        Runnable prepare(Backend b, TensorArena a) {
            int from = 5632 - 4096 - 128;
            Op op =
                    new CompressionOp.AccumulateObsSpread(
                            normal(a, 2048, 5632),
                            a.allocate(DType.F32, new Shape(2048, 128)),
                            a.allocate(DType.F32, new Shape(5632, 5632)),
                            from,
                            from + 128);
            return () -> b.run(op);
        }
    },
    CHOOSE_GRID(bytes(4.0 * 1536 * 576)) {
        @Override
        Runnable prepare(Backend b, TensorArena a) {
            return chooseGrid(b, a, null);
        }
    },
    CHOOSE_GRID_SEARCH(bytes(4.0 * 1536 * 576)) {
        @Override
        Runnable prepare(Backend b, TensorArena a) {
            return chooseGrid(b, a, CompressionOp.GridSearch.DEFAULT);
        }
    },
    ROUND_TO_GRID(bytes(5.0 * 1536 * 576)) {
        @Override
        Runnable prepare(Backend b, TensorArena a) {
            Tensor w = normal(a, 1536, 576);
            Tensor scales = a.allocate(DType.F32, new Shape(1536, 9));
            Tensor zeros = a.allocate(DType.U8, new Shape(1536, 9));
            b.run(new CompressionOp.ChooseGrid(scales, zeros, w, null, GRID, 0, null, 0, 9));
            Tensor codes = a.allocate(DType.U8, w.shape());
            Tensor squares = a.allocate(DType.F64, new Shape(1536, 2));
            Op op = new CompressionOp.RoundToGrid(codes, squares, w, scales, zeros, GRID);
            return () -> b.run(op);
        }
    },
    PACK_CODES(bytes(1.5 * 1536 * 576)) {
        @Override
        Runnable prepare(Backend b, TensorArena a) {
            Tensor codes = a.allocate(DType.U8, new Shape(1536, 576));
            Tensor words = a.allocate(DType.I32, new Shape(1536, 72));
            Op op = new CompressionOp.PackCodes(words, codes, 4);
            return () -> b.run(op);
        }
    };

    private static final Encoding.Grid<Codes.Ints> GRID = Encoding.ints(4, 64, true);

    /// Floating-point operations, or bytes moved, of one run.
    final double work;

    /// Whether [#work] counts operations, so that the peak is what it could reach.
    final boolean computes;

    Kernel(double work, boolean computes) {
        this.work = work;
        this.computes = computes;
    }

    Kernel(Work work) {
        this(work.amount, work.computes);
    }

    private record Work(double amount, boolean computes) {}

    private static Work flops(double rows, double out, double in) {
        return new Work(2 * rows * out * in, true);
    }

    private static Work bytes(double moved) {
        return new Work(moved, false);
    }

    /// Makes the operands; what it returns runs the operation once.
    abstract Runnable prepare(Backend b, TensorArena a);

    private static Runnable matmul(Backend b, TensorArena a, int rows, Weight w) {
        Tensor x = normal(a, rows, (int) w.inFeatures());
        Op op = new ForwardOp.Matmul(a.allocate(DType.F32, new Shape(rows, w.outFeatures())), x, w);
        return () -> b.run(op);
    }

    private static Weight dense(Backend b, TensorArena a, DType type, int out, int in) {
        Tensor values = a.allocate(type, new Shape(out, in));
        b.run(new ForwardOp.Scale(values, normal(a, out, in), 1));
        return new Weight.Dense(values);
    }

    private static Weight packed(Backend b, TensorArena a, int bits, int out, int in) {
        Encoding.Grid<Codes.Ints> spec = Encoding.ints(bits, 64, true);
        Shape groups = new Shape(out, spec.tiles().across(in));
        Tensor w = normal(a, out, in);
        Tensor scales = a.allocate(DType.BF16, groups);
        Tensor zeros = a.allocate(DType.U8, groups);
        Tensor codes = a.allocate(DType.U8, new Shape(out, in));
        Tensor words = a.allocate(DType.I32, new Shape(out, spec.codes().words(in)));
        b.run(
                new CompressionOp.ChooseGrid(
                        scales, zeros, w, null, spec, 0, null, 0, (int) spec.tiles().across(in)));
        b.run(new CompressionOp.RoundToGrid(codes, null, w, scales, zeros, spec));
        b.run(new CompressionOp.PackCodes(words, codes, bits));
        return new Weight.Grouped(spec, in, words, scales, zeros, null);
    }

    private static Runnable chooseGrid(Backend b, TensorArena a, CompressionOp.GridSearch search) {
        Tensor w = normal(a, 1536, 576);
        Tensor scales = a.allocate(DType.F32, new Shape(1536, 9));
        Tensor zeros = a.allocate(DType.U8, new Shape(1536, 9));
        Op op = new CompressionOp.ChooseGrid(scales, zeros, w, null, GRID, 0, search, 0, 9);
        return () -> b.run(op);
    }

    private static Runnable cholesky(Backend b, TensorArena a, int n) {
        Tensor h = hessian(b, a, n);
        Tensor u = a.allocate(DType.F32, h.shape());
        Tensor status = a.allocate(DType.I32, new Shape(1));
        Op op = new StatisticOp.CholeskyInverse(u, status, h, 0.01f);
        return () -> b.run(op);
    }

    private static Runnable quadraticForm(Backend b, TensorArena a, int out, int in) {
        Tensor h = hessian(b, a, in);
        Tensor e = normal(a, out, in);
        Op op = new StatisticOp.QuadraticForm(a.allocate(DType.F64, new Shape(out)), e, h);
        return () -> b.run(op);
    }

    private static Tensor factor(Backend b, TensorArena a, int n) {
        Tensor u = a.allocate(DType.F32, new Shape(n, n));
        Tensor status = a.allocate(DType.I32, new Shape(1));
        b.run(new StatisticOp.CholeskyInverse(u, status, hessian(b, a, n), 0.01f));
        return u;
    }

    private static Tensor hessian(Backend b, TensorArena a, int n) {
        Tensor h = a.allocate(DType.F32, new Shape(n, n));
        b.run(new StatisticOp.AccumulateGram(h, normal(a, 2 * n, n), 1f / n));
        return h;
    }

    private static Tensor normal(TensorArena a, int rows, int cols) {
        Random random = new Random(1);
        float[] some = new float[1021];
        for (int i = 0; i < some.length; i++) {
            some[i] = (float) random.nextGaussian();
        }
        Tensor t = a.allocate(DType.F32, new Shape(rows, cols));
        var bytes = t.bytes();
        for (long i = 0; i < (long) rows * cols; i++) {
            bytes.setAtIndex(ValueLayout.JAVA_FLOAT, i, some[(int) (i % some.length)]);
        }
        return t;
    }
}
