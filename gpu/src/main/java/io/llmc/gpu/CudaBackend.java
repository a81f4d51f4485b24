// SPDX-License-Identifier: Apache-2.0
package io.llmc.gpu;

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
import io.llmc.backend.Slab;
import io.llmc.backend.SmallFloatOp;
import io.llmc.backend.SparseOp;
import io.llmc.backend.StatisticOp;
import io.llmc.backend.TensorArena;
import io.llmc.gpu.driver.Allocation;
import io.llmc.gpu.driver.CudaBuffer;
import io.llmc.gpu.driver.Gpu;
import io.llmc.tensor.Buffer;
import io.llmc.tensor.DType;
import io.llmc.tensor.Lifetime;
import io.llmc.tensor.Tensor;
import io.llmc.tensor.Weight;
import java.lang.foreign.MemorySegment;

/// Runs on one NVIDIA GPU. Every operation is a call into one kernel family; it returns once the
/// work is queued, and only [#download] waits.
public final class CudaBackend implements Backend {
    private final Gpu gpu;
    private final boolean multipliesIntegers;
    private final ElementwiseKernels elements;
    private final RowKernels rows;
    private final RouteKernels routes;
    private final SinkhornKernels sinkhorn;
    private final NormKernels norms;
    private final ConvolutionKernels convolutions;
    private final RecurrentKernels recurrences;
    private final AttentionKernels attention;
    private final AttentionGradKernels attentionGrad;
    private final PageKernels pages;
    private final CompressedKernels compressed;
    private final ChoiceKernels choices;
    private final SeenKernels seen;
    private final SeenGradKernels seenGrad;
    private final ProductKernels products;
    private final LinalgKernels linalg;
    private final LossKernels losses;
    private final TrainingKernels training;
    private final QuantKernels quant;
    private final IntegerKernels integers;
    private final FloatGridKernels floatGrids;
    private final ObsKernels obs;
    private final MaskKernels masks;
    private final ScaleKernels scales;

    /// @param index of the device, as the driver counts
    public CudaBackend(int index, BackendOptions options) {
        gpu = new Gpu(index, options.memory());
        multipliesIntegers = options.compute() == BackendOptions.Compute.INT8;
        elements = new ElementwiseKernels(gpu);
        rows = new RowKernels(gpu);
        routes = new RouteKernels(gpu);
        sinkhorn = new SinkhornKernels(gpu);
        norms = new NormKernels(gpu);
        convolutions = new ConvolutionKernels(gpu);
        recurrences = new RecurrentKernels(gpu);
        attention = new AttentionKernels(gpu);
        attentionGrad = new AttentionGradKernels(gpu);
        pages = new PageKernels(gpu, attention);
        compressed = new CompressedKernels(gpu);
        choices = new ChoiceKernels(gpu, compressed);
        seen = new SeenKernels(gpu);
        seenGrad = new SeenGradKernels(gpu);
        products = new ProductKernels(gpu, options);
        linalg = new LinalgKernels(gpu);
        losses = new LossKernels(gpu);
        training = new TrainingKernels(gpu);
        quant = new QuantKernels(gpu);
        integers = new IntegerKernels(gpu);
        floatGrids = new FloatGridKernels(gpu);
        obs = new ObsKernels(gpu);
        masks = new MaskKernels(gpu);
        scales = new ScaleKernels(gpu);
    }

    @Override
    public String device() {
        return gpu.device();
    }

    @Override
    public boolean sharesHostMemory() {
        return false;
    }

    @Override
    public boolean multipliesIntegers() {
        return multipliesIntegers;
    }

    @Override
    public boolean runs(Class<? extends Op> op) {
        return !Op.ON_CPU_ALONE.contains(op);
    }

    public Gpu gpu() {
        return gpu;
    }

    @Override
    public synchronized void run(Op op) {
        op.requireOn(device());
        op.operands().forEach(t -> CudaBuffer.of(t).touch());
        switch (op) {
            case ForwardOp.Embed(var out, var ids, var table, float scale) ->
                    rows.embed(out, ids, table, scale);
            case ForwardOp.Matmul(var out, var x, Weight w) -> products.matmul(out, x, w);
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
            case CacheOp.StorePages store -> pages.store(store);
            case CacheOp.GatherPages gather -> pages.gather(gather);
            case CacheOp.PagedAttention paged -> pages.attention(paged);
            case ForwardOp.Attention forward -> attention.attention(forward);
            case ForwardOp.Activate(var out, var x, var activation) ->
                    elements.activate(out, x, activation);
            case ForwardOp.Gated(var out, var gate, var up, var activation) ->
                    elements.gated(out, gate, up, activation);
            case ForwardOp.ClampedSwiGlu forward -> elements.clampedSwiGlu(forward);
            case ForwardOp.Xielu forward -> elements.xielu(forward);
            case ForwardOp.Convolve convolution -> convolutions.convolve(convolution);
            case RecurrentOp.SelectiveScan scan -> recurrences.selectiveScan(scan);
            case RecurrentOp.DeltaRule rule -> recurrences.deltaRule(rule);
            case RecurrentOp.StateSpace space -> recurrences.stateSpace(space);
            case ForwardOp.Sinkhorn balanced -> sinkhorn.forward(balanced);
            case GradientOp.AccumulateSinkhornGrad grad -> sinkhorn.gradient(grad);
            case SparseOp.Choose choice -> choices.choose(choice);
            case SparseOp.ChosenAttention chosen -> seen.attend(chosen);
            case CompressedOp.Compress entries -> compressed.compress(entries);
            case CompressedOp.ChooseEntries choice -> choices.choose(choice);
            case CompressedOp.CompressedAttention both -> seen.attend(both);
            case GradientOp.AccumulateCompressGrad grad -> compressed.gradient(grad);
            case GradientOp.AccumulateCompressedAttentionGrad grad -> seenGrad.gradient(grad);
            case RecurrentOp.ResumeConvolve resumed -> convolutions.resume(resumed);
            case ForwardOp.Columns(var out, var x, long from) -> rows.columns(out, x, from);
            case ForwardOp.PutColumns(var out, var x, long from) -> rows.putColumns(out, x, from);
            case ForwardOp.GatherRows(var out, var x, var index) -> rows.gather(out, x, index);
            case ForwardOp.AccumulateRows(var sum, var x, var index, var weights, float factor) ->
                    rows.accumulateRows(sum, x, index, weights, factor);
            case ForwardOp.Route route -> routes.route(route);
            case ForwardOp.WeighExperts chosen -> routes.weigh(chosen);
            case ForwardOp.RoundActivations(var out, var x, var rounding) ->
                    quant.roundActivations(out, x, rounding);
            case ForwardOp.IntegerMatmul product -> integers.multiply(product);
            case GradientOp.AccumulateMatmulInput(var dx, var dout, Weight w) ->
                    products.matmulInput(dx, dout, w);
            case GradientOp.AccumulateOuter(var dw, var dout, var x) -> products.outer(dw, dout, x);
            case GradientOp.AccumulateScales scales -> training.scales(scales);
            case GradientOp.AccumulateScaled(var sum, var x, float factor) ->
                    elements.accumulateScaled(sum, x, factor);
            case GradientOp.AccumulateConvolveGrad grad -> convolutions.gradient(grad);
            case GradientOp.AccumulateColumnSums(var sum, var x) -> norms.columnSums(sum, x);
            case GradientOp.AccumulateColumns(var dx, var dout, long from) ->
                    rows.accumulateColumns(dx, dout, from);
            case GradientOp.AccumulateSoftcapGrad(var dx, var dout, var out, float cap) ->
                    elements.softcapGrad(dx, dout, out, cap);
            case GradientOp.AccumulateClipGrad(var dx, var dout, var out, float most) ->
                    elements.clipGrad(dx, dout, out, most);
            case GradientOp.AccumulateRmsNormGrad norm -> norms.rmsNormGrad(norm);
            case GradientOp.AccumulateLayerNormGrad norm -> norms.layerNormGrad(norm);
            case GradientOp.AccumulateRopeGrad(
                            var dx,
                            var dout,
                            var cosSin,
                            int dim,
                            int length,
                            boolean interleaved) ->
                    norms.ropeGrad(dx, dout, cosSin, dim, length, interleaved);
            case GradientOp.AccumulateAttentionGrad grad -> attentionGrad.gradient(grad);
            case GradientOp.AccumulateActivateGrad(var dx, var dout, var x, var activation) ->
                    elements.activateGrad(dx, dout, x, activation);
            case GradientOp.AccumulateGatedGrad(
                            var dgate,
                            var dup,
                            var dout,
                            var gate,
                            var up,
                            var activation) ->
                    elements.gatedGrad(dgate, dup, dout, gate, up, activation);
            case GradientOp.AccumulateClampedSwiGluGrad grad -> elements.clampedSwiGluGrad(grad);
            case GradientOp.AccumulateXieluGrad grad -> elements.xieluGrad(grad);
            case GradientOp.AccumulateRowsGrad grad -> rows.rowsGrad(grad);
            case GradientOp.AccumulateRouteGrad grad -> routes.gradient(grad);
            case LossOp.DistillLoss loss -> losses.distill(loss);
            case LossOp.AccumulateHiddenLoss loss -> losses.hidden(loss);
            case LossOp.AccumulateAttentionLoss loss -> attentionGrad.loss(loss);
            case LossOp.DistillTopLoss loss -> losses.distillTop(loss);
            case LossOp.TopLogProbabilities top -> losses.topLogProbabilities(top);
            case OptimizerOp.AccumulateAdamW(var w, var m, var v, var g, var spec) ->
                    training.adamW(w, m, v, g, spec);
            case OptimizerOp.AccumulateAdamW8 step -> training.adamW8(step);
            case OptimizerOp.AccumulateSignStep step -> training.signStep(step);
            case LossOp.NegativeLogLikelihood(var out, var logits, var targets) ->
                    losses.negativeLogLikelihood(out, logits, targets);
            case LossOp.Divergence(var out, var p, var q) -> losses.divergence(out, p, q);
            case LossOp.ArgMax(var out, var x) -> losses.argMax(out, x);
            case ForwardOp.Zero(var out) -> gpu.zero(CudaBuffer.pointer(out), out.byteSize());
            case StatisticOp.AccumulateGram(var h, var x, float scale) ->
                    products.gram(h, x, scale);
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
            case StatisticOp.CholeskyInverse(var u, var status, var h, float damp) ->
                    linalg.choleskyInverse(u, status, h, damp);
            case StatisticOp.QuadraticForm(var out, var e, var h) ->
                    linalg.quadraticForm(out, e, h);
            case CompressionOp.ChooseGrid grid -> quant.chooseGrid(grid);
            case CompressionOp.RoundToGrid round -> quant.roundToGrid(round);
            case CompressionOp.AccumulateObsBlock block -> obs.block(block);
            case CompressionOp.AccumulateObsSpread spread -> products.spread(spread);
            case CompressionOp.AccumulateDescent step -> obs.descend(step);
            case CompressionOp.ChooseMask choice -> masks.choose(choice);
            case StatisticOp.CountAbove(var out, var w, var importance, float threshold) ->
                    masks.countAbove(out, w, importance, threshold);
            case CompressionOp.ApplyMask(var out, var w, var mask) -> masks.apply(out, w, mask);
            case CompressionOp.ScaleColumns(var out, var w, var factors) ->
                    scales.scaleColumns(out, w, factors);
            case CompressionOp.Clamp(var out, var w, var limits) -> scales.clamp(out, w, limits);
            case CompressionOp.PackCodes(var out, var codes, _) when out.dtype() == DType.U8 ->
                    floatGrids.packPairs(out, codes);
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
    public synchronized TensorArena newArena(long bytes) {
        return new Slab(new SlabMemory(gpu.take(bytes), bytes));
    }

    /// One arena's piece of the device.
    private final class SlabMemory implements Slab.Memory {
        private final Allocation allocation;
        private final long bytes;
        private long touched;

        SlabMemory(Allocation allocation, long bytes) {
            this.allocation = allocation;
            this.bytes = bytes;
        }

        @Override
        public Buffer slice(long offset, long length, Lifetime lifetime) {
            var use = new CudaBuffer.Use(offset < touched);
            touched = Math.max(touched, offset + length);
            return new CudaBuffer(gpu, allocation, offset, length, lifetime, use);
        }

        @Override
        public String device() {
            return CudaBackend.this.device();
        }

        @Override
        public long capacity() {
            return bytes;
        }

        @Override
        public void free() {
            synchronized (CudaBackend.this) {
                gpu.giveBack(allocation);
            }
        }
    }

    @Override
    public synchronized long room() {
        return gpu.memory().room();
    }

    @Override
    public synchronized void upload(Tensor dst, MemorySegment src) {
        gpu.upload(dst, src);
    }

    @Override
    public synchronized void download(MemorySegment dst, Tensor src) {
        gpu.download(dst, src);
    }

    @Override
    public Weight adopt(Weight host, TensorArena arena) {
        return host.with(t -> adopt(t, arena));
    }

    @Override
    public Tensor adopt(Tensor host, TensorArena arena) {
        if (host.buffer().device().equals(device())) {
            return host;
        }
        Tensor copy = arena.allocate(host.dtype(), host.shape());
        if (host.buffer() instanceof CudaBuffer) {
            receive(copy, host);
        } else {
            upload(copy, host.bytes());
        }
        return copy;
    }

    @Override
    public synchronized void receive(Tensor dst, Tensor src) {
        gpu.receive(dst, src);
    }

    @Override
    public synchronized void close() {
        products.close();
        gpu.close();
    }
}
