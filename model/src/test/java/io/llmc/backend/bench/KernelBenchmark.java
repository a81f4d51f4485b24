// SPDX-License-Identifier: Apache-2.0
package io.llmc.backend.bench;

import io.llmc.backend.BackendOptions;
import io.llmc.backend.Op;
import io.llmc.backend.Op.Activation;
import io.llmc.backend.Op.AttentionSpec;
import io.llmc.backend.TensorArena;
import io.llmc.backend.cpu.CpuBackend;
import io.llmc.tensor.DType;
import io.llmc.tensor.QuantSpec;
import io.llmc.tensor.Shape;
import io.llmc.tensor.Tensor;
import io.llmc.tensor.Weight;
import java.lang.foreign.ValueLayout;
import java.lang.management.ManagementFactory;
import java.util.Random;

/// Times the kernels at the sizes of small models: `mvn -Pbench -pl formats,model -DskipTests
/// test`, or this class with a math (`PORTABLE`, `ONEDNN`) and a part of a name.
public final class KernelBenchmark {
    private final CpuBackend backend;
    private final TensorArena arena;
    private final String only;
    private final int threads;
    private final Random random = new Random(1);

    private KernelBenchmark(CpuBackend backend, TensorArena arena, String only, int threads) {
        this.threads = threads;
        this.backend = backend;
        this.arena = arena;
        this.only = only;
    }

    public static void main(String[] args) {
        String only = args.length > 1 ? args[1] : "";
        int threads = args.length > 2 ? Integer.parseInt(args[2]) : 2;
        for (String math : (args.length > 0 ? args[0] : "PORTABLE,ONEDNN").split(",", -1)) {
            var options = new BackendOptions(threads, BackendOptions.Math.valueOf(math));
            try (CpuBackend backend = new CpuBackend(options);
                    TensorArena arena = backend.newArena(1L << 31)) {
                System.out.println(math + ", " + threads + " threads");
                new KernelBenchmark(backend, arena, only, threads).all();
            }
        }
    }

    private void all() {
        for (DType type : new DType[] {DType.F32, DType.BF16}) {
            for (int[] s :
                    new int[][] {
                        {512, 576, 576},
                        {512, 576, 1536},
                        {512, 1536, 576},
                        {2048, 2048, 2048},
                        {512, 576, 49152},
                        {512, 4096, 4096},
                        {16, 2048, 8192},
                        {1, 576, 49152},
                        {1, 2048, 8192}
                    }) {
                matmul(s[0], s[1], s[2], type.toString(), () -> dense(type, s[2], s[1]));
            }
        }
        for (int bits : new int[] {2, 3, 4, 8}) {
            QuantSpec spec = new QuantSpec(bits, 128, false);
            matmul(512, 2048, 2048, bits + " bits", () -> packed(spec, 2048, 2048));
            matmul(1, 2048, 8192, bits + " bits", () -> packed(spec, 8192, 2048));
        }
        attention(new AttentionSpec(512, 9, 3, 64, 0.125f, 0, 0), 4);
        attention(new AttentionSpec(2048, 32, 8, 64, 0.125f, 0, 0), 1);
        elementwise();
        statistics();
        solves();
    }

    private void elementwise() {
        try (TensorArena a = arena.scratch()) {
            Tensor x = normal(a, 2048, 1536);
            Tensor y = normal(a, 2048, 1536);
            Tensor out = a.allocate(DType.F32, new Shape(2048, 1536));
            Tensor row = normal(a, 1, 1536).reshape(1536);
            time("add", x.byteSize() * 3 / 1e9, "GB/s", new Op.Add(out, x, y, 1));
            time(
                    "silu gated",
                    x.byteSize() * 3 / 1e9,
                    "GB/s",
                    new Op.Gated(out, x, y, Activation.SILU));
            time(
                    "gelu tanh gated",
                    x.byteSize() * 3 / 1e9,
                    "GB/s",
                    new Op.Gated(out, x, y, Activation.GELU_TANH));
            time(
                    "gelu erf",
                    x.byteSize() * 2 / 1e9,
                    "GB/s",
                    new Op.Activate(out, x, Activation.GELU_ERF));
            time("rmsNorm", x.byteSize() * 2 / 1e9, "GB/s", new Op.RmsNorm(out, x, row, 1e-5f, 0));
            Tensor table = normal(a, 2048, 64);
            time(
                    "rope",
                    x.byteSize() * 2 / 1e9,
                    "GB/s",
                    new Op.Rope(out, x, table, 64, 2048, false));
        }
        try (TensorArena a = arena.scratch()) {
            Tensor p = normal(a, 256, 49152);
            Tensor q = normal(a, 256, 49152);
            Tensor out = a.allocate(DType.F32, new Shape(256));
            Tensor ids = a.allocate(DType.I32, new Shape(256));
            backend.run(new Op.Zero(ids));
            time(
                    "nll 49152",
                    p.byteSize() / 1e9,
                    "GB/s",
                    new Op.NegativeLogLikelihood(out, p, ids));
            time("divergence 49152", p.byteSize() * 2 / 1e9, "GB/s", new Op.Divergence(out, p, q));
            time("argMax 49152", p.byteSize() / 1e9, "GB/s", new Op.ArgMax(ids, p));
        }
    }

    private void statistics() {
        for (int n : new int[] {576, 1536, 4096}) {
            try (TensorArena a = arena.scratch()) {
                Tensor x = normal(a, 2048, n);
                Tensor h = a.allocate(DType.F32, new Shape(n, n));
                time(
                        "gram of 2048 x " + n,
                        2048.0 * n * n / 1e9,
                        "GFLOP/s (half)",
                        new Op.AccumulateGram(h, x, 1));
            }
        }
    }

    private void solves() {
        for (int n : new int[] {576, 1536, 4096}) {
            try (TensorArena a = arena.scratch()) {
                Tensor x = normal(a, 2 * n, n);
                Tensor h = a.allocate(DType.F32, new Shape(n, n));
                Tensor u = a.allocate(DType.F32, new Shape(n, n));
                Tensor status = a.allocate(DType.I32, new Shape(1));
                backend.run(new Op.Zero(h));
                backend.run(new Op.AccumulateGram(h, x, 1f / n));
                time(
                        "choleskyInverse " + n,
                        2.0 / 3 * n * n * n / 1e9,
                        "GFLOP/s",
                        new Op.CholeskyInverse(u, status, h, 0.01f));
            }
        }
        for (int[] s : new int[][] {{576, 576}, {1536, 576}, {576, 1536}}) {
            gptq(s[0], s[1]);
        }
    }

    private void gptq(int out, int in) {
        QuantSpec spec = new QuantSpec(4, 128, false);
        try (TensorArena a = arena.scratch()) {
            Tensor w = normal(a, out, in);
            Tensor x = normal(a, 2 * in, in);
            Tensor h = a.allocate(DType.F32, new Shape(in, in));
            Tensor u = a.allocate(DType.F32, new Shape(in, in));
            Tensor status = a.allocate(DType.I32, new Shape(1));
            backend.run(new Op.Zero(h));
            backend.run(new Op.AccumulateGram(h, x, 1f / in));
            backend.run(new Op.CholeskyInverse(u, status, h, 0.01f));
            Tensor scales = a.allocate(DType.F16, new Shape(out, spec.groups(in)));
            Tensor zeros = a.allocate(DType.U8, new Shape(out, spec.groups(in)));
            Tensor codes = a.allocate(DType.U8, new Shape(out, in));
            Tensor words = a.allocate(DType.I32, new Shape(out, spec.words(in)));
            Tensor errors = a.allocate(DType.F32, new Shape(out, 128));
            Tensor groupOf = a.allocate(DType.I32, new Shape(in));
            for (int i = 0; i < in; i++) {
                groupOf.bytes().setAtIndex(ValueLayout.JAVA_INT, i, i / 128);
            }
            double elements = (double) out * in / 1e6;
            time(
                    "chooseGrid",
                    elements,
                    "M/s",
                    new Op.ChooseGrid(
                            scales, zeros, w, null, spec, 0, null, 0, (int) spec.groups(in)));
            time(
                    "chooseGrid with search",
                    elements,
                    "M/s",
                    new Op.ChooseGrid(
                            scales,
                            zeros,
                            w,
                            null,
                            spec,
                            0,
                            Op.GridSearch.DEFAULT,
                            0,
                            (int) spec.groups(in)));
            time(
                    "roundToGrid",
                    elements,
                    "M/s",
                    new Op.RoundToGrid(codes, null, w, scales, zeros, spec));
            time("packCodes", elements, "M/s", new Op.PackCodes(words, codes, 4));
            time(
                    "gptq %d x %d".formatted(out, in),
                    elements,
                    "M/s",
                    () -> {
                        for (int from = 0; from < in; from += 128) {
                            int to = Math.min(in, from + 128);
                            Tensor e = errors.rows(0, out);
                            if (to - from < 128) {
                                e =
                                        new Tensor(
                                                e.buffer(),
                                                e.byteOffset(),
                                                DType.F32,
                                                new Shape(out, to - from));
                            }
                            backend.run(
                                    new Op.AccumulateGptqBlock(
                                            codes, e, w, u, scales, zeros, groupOf, spec, from,
                                            to));
                            backend.run(new Op.AccumulateGptqSpread(w, e, u, from, to));
                        }
                    });
        }
    }

    private void attention(AttentionSpec spec, int sequences) {
        try (TensorArena a = arena.scratch()) {
            int rows = sequences * spec.length();
            Tensor q = normal(a, rows, spec.heads() * spec.headDim());
            Tensor k = normal(a, rows, spec.kvHeads() * spec.headDim());
            Tensor v = normal(a, rows, spec.kvHeads() * spec.headDim());
            Tensor out = a.allocate(DType.F32, q.shape());
            double flops = 2.0 * rows * spec.length() * spec.heads() * spec.headDim();
            time(
                    "attention %d x %d, %d heads of %d"
                            .formatted(sequences, spec.length(), spec.heads(), spec.headDim()),
                    flops / 1e9,
                    "GFLOP/s",
                    new Op.Attention(out, q, k, v, spec));
        }
    }

    private interface Make {
        Weight run();
    }

    private TensorArena scratch;

    private void matmul(int rows, int in, int out, String type, Make weight) {
        try (TensorArena a = arena.scratch()) {
            scratch = a;
            Weight w = weight.run();
            Tensor x = normal(a, rows, in);
            Tensor y = a.allocate(DType.F32, new Shape(rows, out));
            String name = "matmul %d x %d x %d %s".formatted(rows, in, out, type);
            if (rows <= 16) {
                double bytes = w.tensors().mapToLong(Tensor::byteSize).sum();
                time(name, bytes / 1e9, "GB/s", new Op.Matmul(y, x, w));
            } else {
                time(name, 2.0 * rows * in * out / 1e9, "GFLOP/s", new Op.Matmul(y, x, w));
            }
        }
    }

    private Weight dense(DType type, int out, int in) {
        Tensor f = normal(scratch, out, in);
        Tensor t = scratch.allocate(type, new Shape(out, in));
        backend.run(new Op.Scale(t, f, 1));
        return new Weight.Dense(t);
    }

    private Weight packed(QuantSpec spec, int out, int in) {
        Tensor codes = scratch.allocate(DType.I32, new Shape(out, spec.words(in)));
        for (long i = 0; i < codes.shape().size(); i++) {
            codes.bytes().setAtIndex(ValueLayout.JAVA_INT, i, random.nextInt());
        }
        Tensor ones = normal(scratch, out, (int) spec.groups(in));
        Tensor scales = scratch.allocate(DType.BF16, ones.shape());
        backend.run(new Op.Scale(scales, ones, 0.01f));
        Tensor zeros = scratch.allocate(DType.U8, ones.shape());
        return new Weight.Grouped(spec, in, codes, scales, zeros, null);
    }

    private Tensor normal(TensorArena a, int rows, int cols) {
        Tensor t = a.allocate(DType.F32, new Shape(rows, cols));
        var bytes = t.bytes();
        float[] some = new float[1021];
        for (int i = 0; i < some.length; i++) {
            some[i] = (float) random.nextGaussian();
        }
        for (long i = 0; i < (long) rows * cols; i++) {
            bytes.setAtIndex(ValueLayout.JAVA_FLOAT, i, some[(int) (i % 1021)]);
        }
        return t;
    }

    private void time(String name, double amount, String unit, Op op) {
        time(name, amount, unit, () -> backend.run(op));
    }

    /// With one thread its processor time, which other processes do not lengthen.
    private long now() {
        return threads == 1
                ? ManagementFactory.getThreadMXBean().getCurrentThreadCpuTime()
                : System.nanoTime();
    }

    /// Prints the best of repeated runs over about a second, after as long a warm-up.
    private void time(String name, double amount, String unit, Runnable body) {
        if (!name.contains(only)) {
            return;
        }
        double best = Double.POSITIVE_INFINITY;
        long end = now() + 1_600_000_000L;
        int runs = 0;
        while (now() < end || runs < 3) {
            long t = now();
            body.run();
            best = Math.min(best, (now() - t) / 1e9);
            runs++;
        }
        System.out.printf("%-48s %10.3f ms %9.1f %s%n", name, best * 1e3, amount / best, unit);
    }
}
