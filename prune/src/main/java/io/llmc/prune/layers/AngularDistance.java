// SPDX-License-Identifier: Apache-2.0
package io.llmc.prune.layers;

import io.llmc.backend.Backend;
import io.llmc.pipeline.Progress;
import io.llmc.pipeline.pass.HiddenStates;
import io.llmc.pipeline.pass.ModelScope;
import io.llmc.tensor.Tensor;
import java.util.ArrayDeque;
import java.util.Deque;

/// How far a run of blocks turns the residual stream of the last token of each sequence: the angle,
/// over pi, between what the first of them reads and what the last of them hands on, the mean over
/// sequences. Gromov et al., https://arxiv.org/abs/2403.17887, eq. 7
final class AngularDistance {
    private final ModelScope scope;
    private final Backend backend;
    private final int width;

    private AngularDistance(ModelScope scope) {
        this.scope = scope;
        this.backend = scope.model().backend();
        this.width = scope.model().spec().hidden();
    }

    /// One number for each run of `length` blocks, by its first block.
    static double[] of(ModelScope scope, int length) {
        return LayerScores.requireFinite(scope, new AngularDistance(scope).distances(length));
    }

    private double[] distances(int length) {
        int layers = scope.model().spec().layers().size();
        double[] distances = new double[layers - length + 1];
        Progress progress = scope.progress();
        progress.begin("measuring the angles of runs of blocks", layers);
        try (HiddenStates states = scope.sequences()) {
            // What the blocks read that the next distances begin at.
            Deque<float[]> inputs = new ArrayDeque<>();
            float[] first = empty();
            states.forEach((x, chunk) -> keepLastTokens(states, chunk, x, first));
            inputs.add(first);
            for (int i = 0; i < layers; i++) {
                float[] output = empty();
                states.advance(i, (chunk, _, x) -> keepLastTokens(states, chunk, x, output));
                inputs.add(output);
                if (i + 1 >= length) {
                    distances[i + 1 - length] = mean(inputs.remove(), output);
                }
                progress.advance(1, scope.model().spec().layers().get(i).prefix());
            }
        }
        progress.end();
        return distances;
    }

    /// `[sequences, hidden]`
    private float[] empty() {
        return new float[scope.windows().count() * width];
    }

    private void keepLastTokens(HiddenStates states, int chunk, Tensor x, float[] out) {
        int length = scope.windows().length();
        int window = states.firstWindow(chunk);
        for (long end = length; end <= x.rows(); end += length, window++) {
            float[] row = backend.floats(x.rows(end - 1, end));
            System.arraycopy(row, 0, out, window * width, width);
        }
    }

    private double mean(float[] in, float[] out) {
        int sequences = scope.windows().count();
        double sum = 0;
        for (int s = 0; s < sequences; s++) {
            sum += Math.acos(Cosines.ofRow(in, out, s, width)) / Math.PI;
        }
        return sum / sequences;
    }
}
