// SPDX-License-Identifier: Apache-2.0
package io.llmc.prune.experts;

import io.llmc.backend.Desk;
import io.llmc.backend.ForwardOp;
import io.llmc.backend.StatisticOp;
import io.llmc.model.Linear;
import io.llmc.model.Stage;
import io.llmc.model.structure.PruneGroup;
import io.llmc.pipeline.pass.BlockScope;
import io.llmc.pipeline.pass.LayerInput;
import io.llmc.pipeline.pass.Observer;
import io.llmc.prune.shared.Stages;
import io.llmc.tensor.DType;
import io.llmc.tensor.Tensor;
import java.util.Comparator;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.stream.IntStream;

/// How much a block would lose without each of its experts: `S_j = mean over the tokens routed to
/// expert j of g_j * ||f_j(x)||_2`, with the router's weight g and the expert's output f. REAP,
/// https://arxiv.org/abs/2510.13999.
///
/// @param sums over tokens, by expert
/// @param tokens that were routed to each expert
record ExpertSaliency(double[] sums, long[] tokens) {
    /// Runs the calibration sequences up to the outputs of the experts.
    static ExpertSaliency observe(BlockScope scope, PruneGroup experts) {
        Map<String, Integer> byDown = new HashMap<>();
        for (int e = 0; e < experts.count(); e++) {
            byDown.put(experts.whole().get(e).getLast(), e);
        }
        Stage stage = Stages.reach(scope, experts.whole().getFirst().getLast());
        Routed routed = new Routed(scope.desk(), byDown, scope.block().parameters());
        try (var sums = scope.observe(stage, routed)) {
            return sums.total();
        }
    }

    private record Routed(Desk desk, Map<String, Integer> byDown, Map<String, Tensor> parameters)
            implements Observer<LayerInput, ExpertSaliency> {
        @Override
        public ExpertSaliency empty(Desk d) {
            return new ExpertSaliency(new double[byDown.size()], new long[byDown.size()]);
        }

        @Override
        public ExpertSaliency see(ExpertSaliency s, LayerInput input) {
            if (input.gates() == null) {
                return s;
            }
            Linear down = input.layers().getFirst();
            int expert = byDown.get(down.name());
            double[] squares = outputSquares(down, input.x());
            float[] weights = desk.backend().floats(input.gates());
            // On the host and in the order of the tokens, so that the sum is the same on every run.
            for (int t = 0; t < weights.length; t++) {
                s.sums[expert] += weights[t] * Math.sqrt(squares[t]);
            }
            s.tokens[expert] += weights.length;
            return s;
        }

        /// `||f(x)||^2` of every token
        private double[] outputSquares(Linear down, Tensor hidden) {
            long rows = hidden.rows();
            long out = down.weight().outFeatures();
            try (Desk d = desk.fresh(8 * rows * out + 8 * rows + 4096)) {
                Tensor y = d.f32(rows, out);
                Tensor squares = d.allocate(DType.F64, rows);
                d.run(new ForwardOp.Matmul(y, hidden, down.weight()));
                Tensor bias = parameters.get(down.name() + ".bias");
                if (bias != null) {
                    Tensor sum = d.f32(rows, out);
                    d.run(new ForwardOp.AddRow(sum, y, bias));
                    y = sum;
                }
                d.run(new StatisticOp.RowSquares(squares, y));
                return d.backend().doubles(squares);
            }
        }

        @Override
        public ExpertSaliency merge(ExpertSaliency a, ExpertSaliency b) {
            for (int e = 0; e < a.sums.length; e++) {
                a.sums[e] += b.sums[e];
                a.tokens[e] += b.tokens[e];
            }
            return a;
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
    List<Long> seen() {
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
