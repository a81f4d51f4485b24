// SPDX-License-Identifier: Apache-2.0
package io.llmc.model.structure;

import java.util.function.UnaryOperator;

/// A normalisation over channels.
///
/// @param name the checkpoint's, without `.weight`; of no meaning where nothing is learned
/// @param offset added to the stored weight; 1 for gemma
/// @param weighted whether it has a weight
/// @param biased whether it has a bias
public record NormSpec(
        String name, Kind kind, float eps, float offset, boolean weighted, boolean biased) {
    /// What is normalised: the root mean square, or the deviation from the mean.
    public enum Kind {
        RMS,
        LAYER
    }

    public NormSpec {
        if (!(eps > 0) || Float.isInfinite(eps)) {
            throw new IllegalArgumentException(name + " with eps " + eps);
        }
    }

    /// Whether it takes the mean of a row away.
    public boolean centers() {
        return kind == Kind.LAYER;
    }

    public static NormSpec rms(String name, double eps) {
        return new NormSpec(name, Kind.RMS, (float) eps, 0, true, false);
    }

    public static NormSpec layer(String name, double eps) {
        return new NormSpec(name, Kind.LAYER, (float) eps, 0, true, true);
    }

    /// Null for null.
    public static NormSpec renamed(NormSpec norm, UnaryOperator<String> names) {
        return norm == null
                ? null
                : new NormSpec(
                        names.apply(norm.name),
                        norm.kind,
                        norm.eps,
                        norm.offset,
                        norm.weighted,
                        norm.biased);
    }

    public NormSpec offsetBy(float added) {
        return new NormSpec(name, kind, eps, added, weighted, biased);
    }

    public NormSpec withoutBias() {
        return new NormSpec(name, kind, eps, offset, weighted, false);
    }

    /// The same with nothing learned.
    public NormSpec plain() {
        return new NormSpec(name, kind, eps, 0, false, false);
    }
}
