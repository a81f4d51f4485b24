// SPDX-License-Identifier: Apache-2.0
package io.llmc.backend.cpu;

import com.google.errorprone.annotations.MustBeClosed;
import io.llmc.backend.Backend;
import io.llmc.backend.BackendOptions;
import io.llmc.backend.CacheOp;
import io.llmc.backend.CompressedOp;
import io.llmc.backend.CompressionOp;
import io.llmc.backend.ForwardOp;
import io.llmc.backend.GradientOp;
import io.llmc.backend.LossOp;
import io.llmc.backend.Op;
import io.llmc.backend.OptimizerOp;
import io.llmc.backend.RecurrentOp;
import io.llmc.backend.Runner;
import io.llmc.backend.Slab;
import io.llmc.backend.SmallFloatOp;
import io.llmc.backend.SparseOp;
import io.llmc.backend.StatisticOp;
import io.llmc.backend.TensorArena;
import io.llmc.formats.MemoryBudget;
import io.llmc.formats.UserException;
import io.llmc.tensor.DType;
import io.llmc.tensor.Tensor;
import io.llmc.tensor.Weight;
import java.lang.foreign.MemorySegment;
import java.util.ArrayList;
import java.util.List;

/// Runs on the host's vector units. Every operation is a call into one kernel class.
public final class CpuBackend implements Backend {
    private final Workers workers;

    /// Of what was read for its own sake, so that no compiler leaves the reading out.
    @SuppressWarnings("UnusedVariable") // written to be written
    private volatile long folded;

    private final MemoryBudget budget;
    private final BackendOptions.Math math;
    private final boolean multipliesIntegers;
    private Gemm dense;

    /// Null until something needs it.
    private OneDnn oneDnn;

    /// Null where activations keep all of F32.
    private final Bf16Gemm bf16;

    /// Products that the reading of their weight decides; null where a row's bits must be those
    /// that it has in a large product.
    private final FewRows few;

    private final BriefRows brief;
    private final PortableGemm portable;
    private final ElementwiseKernels elements;
    private final NormKernels norms;
    private final RowKernels rows;
    private final RouteKernels routes;
    private final ConvolutionKernels convolutions;
    private final RecurrentKernels recurrences;
    private final SelectiveScanKernel selectiveScans;
    private final SparseKernels choices;
    private final AttentionKernels attention;
    private final PageKernels pages;
    private final PagedAttentionKernels pagedAttention;
    private final LossKernels losses;
    private final LinalgKernels linalg;
    private final QuantKernels quant;
    private final RoundingKernels roundings;
    private final IntegerKernels integers;
    private final FloatGridKernels floatGrids;
    private final ObsKernels obs;
    private final DescentKernel descent;
    private final MaskKernels masks;
    private final ScaleKernels scales;
    private final ElementGradKernels elementGradients;
    private final NormGradKernels normGradients;
    private final RowGradKernels rowGradients;
    private final AttentionGradKernels attentionGrad;
    private final ProductGradKernels products;
    private final DistillLossKernel distillLosses;
    private final StateLossKernels stateLosses;
    private final AdamW8Kernel adamW8;
    private final SignStepKernel signSteps;
    private final SinkhornKernels balances;
    private final CompressedKernels compressed;
    private final CompressedGradKernels compressedGradients;
    private final TopKernels tops;
    private final ReadKernel reads;

    public CpuBackend(BackendOptions options) {
        if (options.math() == BackendOptions.Math.CUBLAS) {
            throw new UserException(
                    "{math} cublas is for an NVIDIA GPU, and the device is cpu",
                    "leave it out, or name a GPU by {device}");
        }
        budget = new MemoryBudget(options.memory());
        workers = new Workers(options.threads(), budget);
        portable = new PortableGemm(workers);
        math = options.math();
        multipliesIntegers = options.compute() == BackendOptions.Compute.INT8;
        elements = new ElementwiseKernels(workers);
        norms = new NormKernels(workers);
        rows = new RowKernels(workers);
        routes = new RouteKernels(workers);
        convolutions = new ConvolutionKernels(workers);
        recurrences = new RecurrentKernels(workers);
        selectiveScans = new SelectiveScanKernel(workers);
        choices = new SparseKernels(workers);
        attention = new AttentionKernels(workers);
        pages = new PageKernels(workers);
        pagedAttention = new PagedAttentionKernels(workers, pages, attention);
        losses = new LossKernels(workers);
        linalg = new LinalgKernels(workers, this::dense);
        quant = new QuantKernels(workers);
        roundings = new RoundingKernels(workers);
        integers = new IntegerKernels(workers, this::integers);
        floatGrids = new FloatGridKernels(workers);
        obs = new ObsKernels(workers, this::dense);
        descent = new DescentKernel(workers);
        masks = new MaskKernels(workers);
        scales = new ScaleKernels(workers);
        elementGradients = new ElementGradKernels(workers);
        normGradients = new NormGradKernels(workers);
        rowGradients = new RowGradKernels(workers);
        attentionGrad = new AttentionGradKernels(workers);
        products = new ProductGradKernels(workers, budget);
        distillLosses = new DistillLossKernel(workers);
        stateLosses = new StateLossKernels(workers);
        adamW8 = new AdamW8Kernel(workers);
        signSteps = new SignStepKernel(workers);
        balances = new SinkhornKernels(workers);
        compressed = new CompressedKernels(workers);
        compressedGradients = new CompressedGradKernels(workers);
        tops = new TopKernels(workers);
        reads = new ReadKernel(workers);
        if (math == BackendOptions.Math.ONEDNN) {
            requireOneDnn();
        }
        bf16 = options.compute() == BackendOptions.Compute.BF16 ? requireBf16() : null;
        brief = new BriefRows(workers);
        few =
                math == BackendOptions.Math.PORTABLE
                        ? null
                        : new FewRows(workers, multipliesIntegers);
    }

    private Bf16Gemm requireBf16() {
        String missing = "";
        if (math == BackendOptions.Math.PORTABLE) {
            missing = "the portable kernels multiply in F32";
        } else {
            try {
                OneDnn dnn = oneDnn();
                if (dnn.hasBf16()) {
                    return new Bf16Gemm(workers, dnn);
                }
                missing = "this CPU has no instructions for it (AVX512-BF16 or AMX)";
            } catch (IllegalStateException e) {
                missing = e.getMessage();
            }
        }
        workers.close();
        throw new UserException(
                "{compute} bf16: " + missing, "leave it out, or name a GPU by {device}");
    }

    /// Who asked for the library by name hears at once that it is not there.
    private void requireOneDnn() {
        try {
            dense();
        } catch (IllegalStateException e) {
            workers.close();
            throw new UserException(e.getMessage(), "pass {math} portable");
        }
    }

    /// The products of dense weights; a library is loaded at the first of them.
    private synchronized Gemm dense() {
        if (dense == null) {
            dense =
                    switch (math) {
                        case PORTABLE, CUBLAS -> portable; // the latter was refused
                        case ONEDNN -> new OneDnnGemm(workers, oneDnn());
                        case AUTO -> isFasterThanOneDnn() ? portable : oneDnnOrPortable();
                    };
        }
        return dense;
    }

    private synchronized OneDnn oneDnn() {
        if (oneDnn == null) {
            oneDnn = OneDnn.load();
        }
        return oneDnn;
    }

    /// With vectors of 256 bits or fewer our kernels win, with 512 the library: docs/adr/0006.
    private static boolean isFasterThanOneDnn() {
        return Lanes.N < 16;
    }

    /// Whether no dense product leaves our kernels, as far as that is known before a library loads.
    private boolean isPortable() {
        return math == BackendOptions.Math.PORTABLE
                || math == BackendOptions.Math.AUTO && isFasterThanOneDnn();
    }

    private Gemm oneDnnOrPortable() {
        try {
            return new OneDnnGemm(workers, oneDnn());
        } catch (IllegalStateException _) {
            return portable; // and `llmc devices` says so
        }
    }

    /// What multiplies integers exactly.
    private IntegerKernels.Sums integers() {
        if (math == BackendOptions.Math.PORTABLE) {
            return new PortableIntegers();
        }
        try {
            OneDnn dnn = oneDnn();
            return dnn.hasIntegers()
                    ? (c, stride, a, b, m, n, k, _) -> dnn.integers(c, stride, a, b, m, n, k)
                    : new PortableIntegers();
        } catch (IllegalStateException _) {
            return new PortableIntegers(); // the same sums
        }
    }

    /// A library wants whole matrices: codes are faster unpacked panel by panel, where they are
    /// used.
    private Gemm gemm(Weight w) {
        if (bf16 != null && w.valueType() == DType.BF16) {
            return bf16;
        }
        return w instanceof Weight.Dense ? dense() : portable;
    }

    private static Product product(Tensor out, Tensor x, Weight w) {
        return Product.of(
                out.bytes(), out.rows(), out.cols(), x.cols(), Operand.of(x), Operand.of(w));
    }

    private void multiply(Tensor out, Tensor x, Weight w) {
        Product p = product(out, x, w);
        if (isOfFewRows(x)) {
            few.multiply(List.of(p), List.of(rounds(w)));
        } else {
            gemm(w).multiply(p);
        }
    }

    private boolean isOfFewRows(Tensor x) {
        return few != null && x.rows() <= FewRows.MOST;
    }

    /// What inputs of few rows are rounded to.
    private DType rounds(Weight w) {
        return bf16 != null && w.valueType() == DType.BF16 ? DType.BF16 : DType.F32;
    }

    /// Products of few rows are handed out together: one alone may have too little work for all
    /// threads.
    @Override
    public void runAll(List<? extends Op> independent) {
        List<Product> products = new ArrayList<>();
        List<DType> rounds = new ArrayList<>();
        for (Op op : independent) {
            if (op instanceof ForwardOp.Matmul(var out, var x, Weight w) && isOfFewRows(x)) {
                op.requireOn("cpu");
                products.add(product(out, x, w));
                rounds.add(rounds(w));
            } else {
                run(op);
            }
        }
        if (!products.isEmpty()) {
            few.multiply(products, rounds);
        }
    }

    /// Kernels on vectors take seconds until they are compiled, and make up for it only after many
    /// billions of weights.
    @Override
    public Runner brief() {
        return this::runBriefly;
    }

    private void runBriefly(Op op) {
        if (op instanceof ForwardOp.Matmul(var out, var x, Weight w)
                && x.rows() <= BriefRows.MOST) {
            op.requireOn("cpu");
            brief.multiply(product(out, x, w), w);
        } else {
            run(op);
        }
    }

    /// What a person wants to know of this device. Loads no library.
    static String describe() {
        return "%d-bit vectors, %d processors, %s"
                .formatted(
                        Lanes.F.vectorBitSize(),
                        Runtime.getRuntime().availableProcessors(),
                        OneDnn.describe());
    }

    @Override
    public String device() {
        return "cpu";
    }

    @Override
    public boolean sharesHostMemory() {
        return true;
    }

    @Override
    public void run(Op op) {
        op.requireOn("cpu");
        switch (op) {
            case ForwardOp.Embed(var out, var ids, var table, float scale) ->
                    rows.embed(out, ids, table, scale);
            case ForwardOp.Matmul(var out, var x, Weight w) -> multiply(out, x, w);
            case ForwardOp.AddRow(var out, var x, var row) -> elements.addRow(out, x, row);
            case ForwardOp.Multiply(var out, var a, var b) -> elements.multiply(out, a, b);
            case ForwardOp.MultiplyRow(var out, var x, var row, float offset) ->
                    elements.multiplyRow(out, x, row, offset);
            case ForwardOp.Add(var out, var a, var b, float scale) ->
                    elements.add(out, a, b, scale);
            case ForwardOp.Scale(var out, var x, float factor) -> elements.scale(out, x, factor);
            case ForwardOp.Softcap(var out, var x, float cap) -> elements.softcap(out, x, cap);
            case ForwardOp.Clip(var out, var x, float most) -> elements.clip(out, x, most);
            case ForwardOp.RmsNorm(var out, var x, var weight, float eps, float offset) ->
                    norms.rmsNorm(out, x, weight, eps, offset);
            case ForwardOp.LayerNorm(var out, var x, var weight, var bias, float eps) ->
                    norms.layerNorm(out, x, weight, bias, eps);
            case ForwardOp.Rope(
                            var out,
                            var x,
                            var cosSin,
                            int dim,
                            int length,
                            boolean interleaved) ->
                    norms.rope(out, x, cosSin, dim, length, interleaved);
            case ForwardOp.Attention forward -> attention.attention(forward);
            case CacheOp.StorePages store -> pages.store(store);
            case CacheOp.GatherPages gather -> pages.gather(gather);
            case CacheOp.PagedAttention paged -> pagedAttention.run(paged);
            case ForwardOp.Activate(var out, var x, var activation) ->
                    elements.activate(out, x, activation);
            case ForwardOp.Gated(var out, var gate, var up, var activation) ->
                    elements.gated(out, gate, up, activation);
            case ForwardOp.ClampedSwiGlu forward -> elements.clampedSwiGlu(forward);
            case ForwardOp.Xielu forward -> elements.xielu(forward);
            case ForwardOp.Sinkhorn forward -> balances.forward(forward);
            case ForwardOp.Convolve convolution -> convolutions.run(convolution);
            case CompressedOp.Compress compress -> compressed.compress(compress);
            case CompressedOp.ChooseEntries choose -> compressed.choose(choose);
            case CompressedOp.CompressedAttention attention -> compressed.attend(attention);
            case SparseOp.Choose choose -> choices.choose(choose);
            case SparseOp.ChosenAttention attention -> choices.attend(attention);
            case RecurrentOp.DeltaRule rule -> recurrences.deltaRule(rule);
            case RecurrentOp.StateSpace space -> recurrences.stateSpace(space);
            case RecurrentOp.SelectiveScan scan -> selectiveScans.run(scan);
            case RecurrentOp.ResumeConvolve resumed -> convolutions.resume(resumed);
            case ForwardOp.Columns(var out, var x, long from) -> rows.columns(out, x, from);
            case ForwardOp.PutColumns(var out, var x, long from) -> rows.putColumns(out, x, from);
            case ForwardOp.GatherRows(var out, var x, var index) -> rows.gather(out, x, index);
            case ForwardOp.AccumulateRows(var sum, var x, var index, var weights, float factor) ->
                    rows.accumulateRows(sum, x, index, weights, factor);
            case ForwardOp.WeighExperts weigh -> routes.weigh(weigh);
            case ForwardOp.Route route -> routes.route(route);
            case ForwardOp.RoundActivations(var out, var x, var rounding) ->
                    roundings.round(out, x, rounding);
            case ForwardOp.IntegerMatmul product -> integers.multiply(product);
            case GradientOp.AccumulateMatmulInput(var dx, var dout, Weight w) ->
                    products.input(dense(), dx, dout, w);
            case GradientOp.AccumulateOuter(var dw, var dout, var x) ->
                    products.outer(dense(), dw, dout, x);
            case GradientOp.AccumulateScales(var dscales, var dvalues, var w) ->
                    products.scales(dscales, dvalues, w);
            case GradientOp.AccumulateScaled(var sum, var x, float factor) ->
                    elementGradients.scaled(sum, x, factor);
            case GradientOp.AccumulateConvolveGrad grad -> convolutions.gradient(grad);
            case GradientOp.AccumulateColumnSums(var sum, var x) ->
                    normGradients.columnSums(sum, x);
            case GradientOp.AccumulateColumns(var dx, var dout, long from) ->
                    rowGradients.columns(dx, dout, from);
            case GradientOp.AccumulateSoftcapGrad(var dx, var dout, var out, float cap) ->
                    elementGradients.softcap(dx, dout, out, cap);
            case GradientOp.AccumulateClipGrad(var dx, var dout, var out, float most) ->
                    elementGradients.clip(dx, dout, out, most);
            case GradientOp.AccumulateRmsNormGrad norm -> normGradients.rmsNorm(norm);
            case GradientOp.AccumulateLayerNormGrad norm -> normGradients.layerNorm(norm);
            case GradientOp.AccumulateRopeGrad(
                            var dx,
                            var dout,
                            var cosSin,
                            int dim,
                            int length,
                            boolean interleaved) ->
                    rowGradients.rope(dx, dout, cosSin, dim, length, interleaved);
            case GradientOp.AccumulateAttentionGrad grad -> attentionGrad.run(grad);
            case GradientOp.AccumulateActivateGrad(var dx, var dout, var x, var activation) ->
                    elementGradients.activate(dx, dout, x, activation);
            case GradientOp.AccumulateGatedGrad(
                            var dgate,
                            var dup,
                            var dout,
                            var gate,
                            var up,
                            var activation) ->
                    elementGradients.gated(dgate, dup, dout, gate, up, activation);
            case GradientOp.AccumulateClampedSwiGluGrad grad ->
                    elementGradients.clampedSwiGlu(grad);
            case GradientOp.AccumulateXieluGrad grad -> elementGradients.xielu(grad);
            case GradientOp.AccumulateCompressGrad grad -> compressedGradients.compress(grad);
            case GradientOp.AccumulateCompressedAttentionGrad grad ->
                    compressedGradients.attend(grad);
            case GradientOp.AccumulateSinkhornGrad grad -> balances.gradient(grad);
            case GradientOp.AccumulateRowsGrad grad -> rowGradients.rows(grad);
            case GradientOp.AccumulateRouteGrad grad -> routes.gradient(grad);
            case LossOp.DistillLoss loss -> distillLosses.run(loss);
            case LossOp.AccumulateHiddenLoss loss -> stateLosses.hidden(loss);
            case LossOp.AccumulateAttentionLoss loss -> stateLosses.attention(loss);
            case LossOp.DistillTopLoss loss -> tops.loss(loss);
            case LossOp.TopLogProbabilities top -> tops.logProbabilities(top);
            case OptimizerOp.AccumulateAdamW(var w, var m, var v, var g, var spec) ->
                    elementGradients.adamW(w, m, v, g, spec);
            case OptimizerOp.AccumulateAdamW8 step -> adamW8.run(step);
            case OptimizerOp.AccumulateSignStep step -> signSteps.run(step);
            case LossOp.NegativeLogLikelihood(var out, var logits, var targets) ->
                    losses.negativeLogLikelihood(out, logits, targets);
            case LossOp.Divergence(var out, var p, var q) -> losses.divergence(out, p, q);
            case LossOp.ArgMax(var out, var x) -> losses.argMax(out, x);
            case ForwardOp.Zero(var out) -> out.bytes().fill((byte) 0);
            case StatisticOp.AccumulateGram(var h, var x, float scale) ->
                    linalg.accumulateGram(h, x, scale);
            case StatisticOp.Diagonal(var out, var h) -> rows.diagonal(out, h);
            case StatisticOp.ShrinkCorrelations(var out, var h, float factor) ->
                    rows.shrinkCorrelations(out, h, factor);
            case StatisticOp.GatherSymmetric(var out, var h, var order) ->
                    rows.gatherSymmetric(out, h, order);
            case StatisticOp.GatherColumns(var out, var x, var order) ->
                    rows.gatherColumns(out, x, order);
            case StatisticOp.Transpose(var out, var x) -> rows.transpose(out, x);
            case StatisticOp.AccumulateColumnNorms(var sum, var x, int power) ->
                    norms.columnNorms(sum, x, power);
            case StatisticOp.AccumulateColumnMaxima(var most, var x) ->
                    scales.columnMaxima(most, x);
            case StatisticOp.RowSquares(var out, var x) -> norms.rowSquares(out, x);
            case StatisticOp.CholeskyInverse inverse ->
                    CholeskyKernel.run(workers, portable, dense(), inverse);
            case StatisticOp.QuadraticForm(var out, var e, var h) ->
                    linalg.quadraticForm(out, e, h);
            case CompressionOp.ChooseGrid choose -> quant.chooseGrid(choose);
            case CompressionOp.RoundToGrid(
                            var codes,
                            var squares,
                            var w,
                            var scales,
                            var zeros,
                            var spec) ->
                    quant.roundToGrid(codes, squares, w, scales, zeros, spec);
            case CompressionOp.AccumulateObsBlock block -> obs.block(block);
            case CompressionOp.AccumulateObsSpread spread -> obs.spread(spread);
            case CompressionOp.AccumulateDescent step -> descent.run(step);
            case CompressionOp.ChooseMask(
                            var mask,
                            var w,
                            var importance,
                            var rule,
                            int from,
                            int to) ->
                    masks.choose(mask, w, importance, rule, from, to);
            case StatisticOp.CountAbove(var out, var w, var importance, float threshold) ->
                    masks.countAbove(out, w, importance, threshold);
            case CompressionOp.ApplyMask(var out, var w, var mask) -> masks.apply(out, w, mask);
            case CompressionOp.ScaleColumns(var out, var w, var factors) ->
                    scales.scaleColumns(out, w, factors);
            case CompressionOp.Clamp(var out, var w, var limits) -> scales.clamp(out, w, limits);
            case CompressionOp.PackCodes(var out, var codes, int bits) ->
                    quant.packCodes(out, codes, bits);
            case SmallFloatOp.TileMaxima(var out, var w, var tiles) ->
                    floatGrids.tileMaxima(out, w, tiles);
            case SmallFloatOp.ChooseScales choose -> floatGrids.chooseScales(choose);
            case SmallFloatOp.RoundToFloats round -> floatGrids.round(round);
            case CompressionOp.Dequantize(var out, Weight w) -> quant.dequantize(out, w);
        }
    }

    @Override
    @MustBeClosed
    @SuppressWarnings("MustBeClosed") // the slab owns it
    public TensorArena newArena(long bytes) {
        return new Slab(new HostMemory(bytes, budget));
    }

    @Override
    public void read(Tensor x) {
        folded = reads.fold(x);
    }

    @Override
    public MemoryBudget host() {
        return budget;
    }

    @Override
    public long kernelBytes(long rows, long out, long in) {
        long most = isPortable() ? 0 : OneDnnGemm.scratchBytes(in) * workers.threads();
        if (multipliesIntegers) {
            most = Math.max(most, IntegerKernels.scratchBytes(rows, in, workers.threads()));
        }
        return bf16 == null ? most : most + Bf16Gemm.scratchBytes(rows, out, in, workers.threads());
    }

    @Override
    public boolean unpacks(Weight w) {
        return !(w instanceof Weight.Dense) && gemm(w) == portable && dense() != portable;
    }

    @Override
    public boolean multipliesIntegers() {
        return multipliesIntegers;
    }

    @Override
    public long gradientBytes(long rows, long out, long in, boolean decodes) {
        long own = isPortable() ? 0 : OneDnnGemm.gradientBytes(rows, out) * workers.threads();
        return own + (decodes ? 4 * out * in + 64 : 0);
    }

    @Override
    public void upload(Tensor dst, MemorySegment src) {
        dst.bytes().copyFrom(src);
    }

    @Override
    public void download(MemorySegment dst, Tensor src) {
        dst.copyFrom(src.bytes());
    }

    @Override
    public float[] floats(Tensor t) {
        return t.bytes().toArray(Lanes.F32);
    }

    @Override
    public Weight adopt(Weight host, TensorArena arena) {
        return host;
    }

    @Override
    public Tensor adopt(Tensor host, TensorArena arena) {
        return host;
    }

    @Override
    public void close() {
        workers.close();
    }
}
