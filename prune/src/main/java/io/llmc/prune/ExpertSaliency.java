// SPDX-License-Identifier: Apache-2.0
package io.llmc.prune;

import io.llmc.backend.Backend;
import io.llmc.backend.ForwardOp;
import io.llmc.backend.StatisticOp;
import io.llmc.backend.TensorArena;
import io.llmc.model.Linear;
import io.llmc.model.PruneGroup;
import io.llmc.model.Tap;
import io.llmc.pipeline.BlockScope;
import io.llmc.tensor.DType;
import io.llmc.tensor.Shape;
import io.llmc.tensor.Tensor;
import java.util.Comparator;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.stream.IntStream;

/// How much a block would lose without each of its experts: `S_j = mean over the tokens routed to
/// expert j of g_j * ||f_j(x)||_2`, with the router's weight g and the expert's output f. REAP,
/// https://arxiv.org/abs/2510.13999.
final class ExpertSaliency implements Tap {
    private final BlockScope scope;
    private final Map<String, Integer> byDown = new HashMap<>();
    private final double[] sums;
    private final long[] tokens;

    private ExpertSaliency(BlockScope scope, PruneGroup experts) {
        this.scope = scope;
        for (int e = 0; e < experts.count(); e++) {
            byDown.put(experts.whole().get(e).getLast(), e);
        }
        this.sums = new double[byDown.size()];
        this.tokens = new long[byDown.size()];
    }

    /// Runs the calibration sequences up to the outputs of the experts.
    static ExpertSaliency observe(BlockScope scope, PruneGroup experts) {
        ExpertSaliency saliency = new ExpertSaliency(scope, experts);
        scope.observe(Stages.reach(scope, experts.whole().getFirst().getLast()), saliency);
        return saliency;
    }

    @Override
    public void before(List<Linear> layers, Tensor input) {}

    @Override
    public void routed(Linear down, Tensor hidden, Tensor gates) {
        int expert = byDown.get(down.name());
        double[] squares = outputSquares(down, hidden);
        float[] weights = scope.backend().floats(gates);
        // On the host and in the order of the tokens, so that the sum is the same on every run.
        for (int t = 0; t < weights.length; t++) {
            sums[expert] += weights[t] * Math.sqrt(squares[t]);
        }
        tokens[expert] += weights.length;
    }

    /// `||f(x)||^2` of every token
    private double[] outputSquares(Linear down, Tensor hidden) {
        Backend backend = scope.backend();
        long rows = hidden.rows();
        long out = down.weight().outFeatures();
        try (TensorArena scratch = backend.newArena(8 * rows * out + 8 * rows + 4096)) {
            Tensor y = scratch.allocate(DType.F32, new Shape(rows, out));
            Tensor squares = scratch.allocate(DType.F64, new Shape(rows));
            backend.run(new ForwardOp.Matmul(y, hidden, down.weight()));
            Tensor bias = scope.block().parameters().get(down.name() + ".bias");
            if (bias != null) {
                Tensor sum = scratch.allocate(DType.F32, y.shape());
                backend.run(new ForwardOp.AddRow(sum, y, bias));
                y = sum;
            }
            backend.run(new StatisticOp.RowSquares(squares, y));
            return backend.doubles(squares);
        }
    }

    /// One number an expert; 0 where no token was routed to it.
    List<Double> values() {
        return IntStream.range(0, sums.length).mapToObj(this::value).toList();
    }

    private double value(int expert) {
        return tokens[expert] == 0 ? 0 : sums[expert] / tokens[expert];
    }

    /// Tokens that were routed to each expert.
    List<Long> tokens() {
        return IntStream.range(0, tokens.length).mapToObj(e -> tokens[e]).toList();
    }

    /// The experts that no token was routed to.
    List<Integer> unseen() {
        return IntStream.range(0, tokens.length).filter(e -> tokens[e] == 0).boxed().toList();
    }

    /// The experts that count most, in their order; of equals the lower one.
    List<Integer> best(int count) {
        return IntStream.range(0, sums.length)
                .boxed()
                // An expert that was never asked is worth less than one whose answers are 0.
                .sorted(
                        Comparator.comparing((Integer e) -> tokens[e] == 0)
                                .thenComparing(Comparator.comparing(this::value).reversed()))
                .limit(count)
                .sorted()
                .toList();
    }
}
