// SPDX-License-Identifier: Apache-2.0
package io.llmc.prune.layers;

import io.llmc.backend.Backend;
import io.llmc.backend.Desk;
import io.llmc.pipeline.Progress;
import io.llmc.pipeline.pass.HiddenStates;
import io.llmc.pipeline.pass.ModelScope;
import io.llmc.pipeline.pass.Observer;
import io.llmc.pipeline.pass.SumTree;
import io.llmc.tensor.Tensor;

/// How much each block turns the residual stream: 1 - the mean cosine between a token's input and
/// output. ShortGPT, https://arxiv.org/abs/2403.03853
record BlockInfluence(Backend backend)
        implements Observer<BlockInfluence.Step, BlockInfluence.Sum> {
    /// The stream before and behind a block, `[tokens, hidden]`.
    record Step(Tensor before, Tensor after) {}

    /// Over tokens.
    record Sum(double cosines, long tokens) {}

    /// One number a block, from one pass over the calibration sequences.
    static double[] of(ModelScope scope) {
        int layers = scope.model().spec().layers().size();
        Backend backend = scope.model().backend();
        double[] influence = new double[layers];
        Progress progress = scope.progress();
        progress.begin("measuring the influence of blocks", layers);
        try (HiddenStates states = scope.sequences()) {
            for (int i = 0; i < layers; i++) {
                try (var sums = new SumTree<>(new BlockInfluence(backend), backend)) {
                    states.advance(i, (chunk, x, y) -> sums.see(chunk, new Step(x, y)));
                    influence[i] = 1 - sums.total().cosines / sums.total().tokens;
                }
                progress.advance(1, scope.model().spec().layers().get(i).prefix());
            }
        }
        progress.end();
        return LayerScores.requireFinite(scope, influence);
    }

    @Override
    public Sum empty(Desk d) {
        return new Sum(0, 0);
    }

    @Override
    public Sum see(Sum s, Step step) {
        float[] in = backend.floats(step.before);
        float[] out = backend.floats(step.after);
        int width = (int) step.before.cols();
        double cosines = s.cosines;
        for (int row = 0; row < step.before.rows(); row++) {
            cosines += Cosines.ofRow(in, out, row, width);
        }
        return new Sum(cosines, s.tokens + step.before.rows());
    }

    @Override
    public Sum merge(Sum a, Sum b) {
        return new Sum(a.cosines + b.cosines, a.tokens + b.tokens);
    }
}
