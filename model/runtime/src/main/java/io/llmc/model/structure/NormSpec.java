// SPDX-License-Identifier: Apache-2.0
package io.llmc.model.structure;

import java.util.function.UnaryOperator;

/// A normalisation over channels.
///
/// @param name the checkpoint's, without `.weight`
/// @param offset added to the stored weight; 1 for gemma
public record NormSpec(String name, Kind kind, float eps, float offset) {
    /// What is normalised: the root mean square, or the deviation from the mean, with a bias.
    public enum Kind {
        RMS,
        LAYER
    }

    public NormSpec {
        if (!(eps > 0) || Float.isInfinite(eps)) {
            throw new IllegalArgumentException(name + " with eps " + eps);
        }
    }

    public boolean bias() {
        return kind == Kind.LAYER;
    }

    public static NormSpec rms(String name, double eps) {
        return new NormSpec(name, Kind.RMS, (float) eps, 0);
    }

    public static NormSpec layer(String name, double eps) {
        return new NormSpec(name, Kind.LAYER, (float) eps, 0);
    }

    /// Null for null.
    public static NormSpec renamed(NormSpec norm, UnaryOperator<String> names) {
        return norm == null
                ? null
                : new NormSpec(names.apply(norm.name), norm.kind, norm.eps, norm.offset);
    }

    public NormSpec offsetBy(float added) {
        return new NormSpec(name, kind, eps, added);
    }
}
