// SPDX-License-Identifier: Apache-2.0
package io.llmc.evaluation.blame;

import io.llmc.formats.MemoryBudget;
import io.llmc.formats.UserException;
import io.llmc.formats.checkpoint.TensorReader;
import io.llmc.model.LayerSpec;
import io.llmc.model.structure.NormSpec;
import io.llmc.model.structure.ScaleGroup;
import io.llmc.tensor.Floats;
import io.llmc.tensor.Tensor;
import java.util.Arrays;
import java.util.List;

/// Scales that AWQ or SmoothQuant have moved between the layers of a block: what a norm's channels
/// are divided by, the layers behind it are multiplied with, so that one of them by itself computes
/// something else between the original's.
final class FoldedScales {
    /// How much more the larger channels of a norm were changed than the smaller ones, at least.
    /// Training a little moves them together.
    private static final double SPREAD = 1.25;

    private FoldedScales() {}

    /// @throws UserException where the compressed model has some
    static void requireNone(Side original, Side compressed) {
        List<LayerSpec> theirs = original.spec().layers();
        List<LayerSpec> ours = compressed.spec().layers();
        try (TensorReader before = original.checkpoint().reader(MemoryBudget.NONE);
                TensorReader after = compressed.checkpoint().reader(MemoryBudget.NONE)) {
            for (int i = 0; i < theirs.size(); i++) {
                List<NormSpec> were = norms(theirs.get(i));
                List<NormSpec> are = norms(ours.get(i));
                for (int n = 0; n < Math.min(were.size(), are.size()); n++) {
                    if (spread(before, were.get(n), after, are.get(n)) > SPREAD) {
                        throw new UserException(
                                "%s has other scales between its layers than %s (%s was changed as AWQ and SmoothQuant do), so that no layer by itself fits into the original"
                                        .formatted(
                                                compressed.directory(),
                                                original.directory(),
                                                are.get(n).name()),
                                "give {by} as blocks");
                    }
                }
            }
        }
    }

    private static List<NormSpec> norms(LayerSpec layer) {
        return layer.scaleGroups().stream()
                .map(ScaleGroup::source)
                .filter(ScaleGroup.Weights.class::isInstance)
                .map(s -> ((ScaleGroup.Weights) s).norm())
                .filter(NormSpec::weighted)
                .toList();
    }

    /// Between the first and the last tenth of the factors by which channels were changed.
    private static double spread(
            TensorReader before, NormSpec were, TensorReader after, NormSpec are) {
        Tensor old = before.tensor(were.name() + ".weight");
        Tensor now = after.tensor(are.name() + ".weight");
        double[] factors = new double[(int) Math.min(old.shape().size(), now.shape().size())];
        for (int c = 0; c < factors.length; c++) {
            double factor = value(now, c, are.offset()) / value(old, c, were.offset());
            factors[c] = Double.isFinite(factor) ? Math.abs(factor) : 1;
        }
        Arrays.sort(factors);
        int tenth = factors.length / 10;
        return factors[factors.length - 1 - tenth] / factors[tenth];
    }

    private static double value(Tensor t, int channel, float offset) {
        return Floats.get(t.bytes(), t.dtype(), channel) + offset;
    }
}
