// SPDX-License-Identifier: Apache-2.0
package io.llmc.prune;

import io.llmc.backend.Backend;
import io.llmc.pipeline.HiddenStates;
import io.llmc.pipeline.ModelScope;
import io.llmc.pipeline.Progress;
import io.llmc.tensor.Tensor;

/// How much each block turns the residual stream: 1 - the mean cosine between a token's input and
/// output. ShortGPT, https://arxiv.org/abs/2403.03853
final class BlockInfluence {
    private final Backend backend;
    private double cosines;
    private long tokens;

    private BlockInfluence(Backend backend) {
        this.backend = backend;
    }

    /// One number a block, from one pass over the calibration sequences.
    static double[] of(ModelScope scope) {
        int layers = scope.model().spec().layers().size();
        double[] influence = new double[layers];
        Progress progress = scope.progress();
        progress.begin("measuring the influence of blocks", layers);
        try (HiddenStates states = scope.sequences()) {
            for (int i = 0; i < layers; i++) {
                BlockInfluence block = new BlockInfluence(scope.model().backend());
                states.advance(i, (_, before, after) -> block.add(before, after));
                influence[i] = 1 - block.cosines / block.tokens;
                progress.advance(1, scope.model().spec().layers().get(i).prefix());
            }
        }
        progress.end();
        return LayerScores.requireFinite(scope, influence);
    }

    private void add(Tensor before, Tensor after) {
        float[] in = backend.floats(before);
        float[] out = backend.floats(after);
        int width = (int) before.cols();
        for (int row = 0; row < before.rows(); row++) {
            cosines += Cosines.ofRow(in, out, row, width);
        }
        tokens += before.rows();
    }
}
