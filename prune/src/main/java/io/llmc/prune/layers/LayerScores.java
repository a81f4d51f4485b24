// SPDX-License-Identifier: Apache-2.0
package io.llmc.prune.layers;

import io.llmc.formats.UserException;
import io.llmc.pipeline.pass.ModelScope;
import java.util.Arrays;
import java.util.Comparator;
import java.util.List;
import java.util.stream.IntStream;

/// Numbers by which blocks are compared; the smaller, the less a block is missed.
final class LayerScores {
    private LayerScores() {}

    /// Indices of the `count` smallest, the smaller index first where two are equal, in order.
    static List<Integer> smallest(double[] scores, int count) {
        return IntStream.range(0, scores.length)
                .boxed()
                .sorted(Comparator.comparingDouble(i -> scores[i]))
                .limit(count)
                .sorted()
                .toList();
    }

    /// @throws UserException where some score is no finite number, so that nothing can be compared
    static double[] requireFinite(ModelScope scope, double[] scores) {
        if (!Arrays.stream(scores).allMatch(Double::isFinite)) {
            throw new UserException(
                    "the activations of %s hold NaN or infinite values"
                            .formatted(scope.model().checkpoint().directory()),
                    "its weights or its config are broken; look at them with llmc inspect");
        }
        return scores;
    }
}
