// SPDX-License-Identifier: Apache-2.0
package io.llmc.model;

/// A normalisation over channels.
///
/// @param name the checkpoint's, without `.weight`; a `.bias` is read where the checkpoint has one
/// @param offset added to the stored weight; 1 for gemma
public record NormSpec(String name, Kind kind, float eps, float offset) {
    public enum Kind {
        RMS,
        LAYER
    }

    public static NormSpec rms(String name, double eps) {
        return new NormSpec(name, Kind.RMS, (float) eps, 0);
    }

    public static NormSpec layer(String name, double eps) {
        return new NormSpec(name, Kind.LAYER, (float) eps, 0);
    }

    public NormSpec offsetBy(float added) {
        return new NormSpec(name, kind, eps, added);
    }
}
