// SPDX-License-Identifier: Apache-2.0
package io.llmc.pipeline.pass;

import io.llmc.backend.Desk;

/// What calibration adds up: a partial of some sequences, which can be merged with that of the
/// sequences behind them.
///
/// A [SumTree] decides which sequences go into one partial and how partials are merged, so that the
/// result does not depend on who adds up what.
///
/// @param <X> what it is shown, as a layer's inputs
/// @param <S> a partial
public interface Observer<X, S> {
    /// Bytes of the device that a partial takes.
    default long bytes() {
        return 0;
    }

    /// The partial of no sequences.
    ///
    /// @param d a device, with room for [#bytes], zeroed; its memory lives as long as the partial
    S empty(Desk d);

    /// `s` and what is seen next. May be `s` itself, changed.
    S see(S s, X x);

    /// Those of `a`, and those of `b` behind them. It lies where `a` does; `b` is gone then.
    S merge(S a, S b);
}
