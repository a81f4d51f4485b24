// SPDX-License-Identifier: Apache-2.0
package io.llmc.quantize;

import io.llmc.backend.Desk;
import io.llmc.pipeline.pass.Observer;
import io.llmc.solver.Gram;
import io.llmc.tensor.Tensor;

/// The Gram matrix of inputs, and how large they are where somebody asks.
///
/// @param in columns of an input
/// @param ranged whether the range is wanted
record InputSums(long in, boolean ranged) implements Observer<Tensor, InputSums.Sum> {
    /// @param range null where it is not wanted
    record Sum(Gram.Sum gram, InputRange.Seen range) {
        long tokens() {
            return gram.tokens();
        }

        Tensor h() {
            return gram.h();
        }

        /// 0 where nobody looked.
        float largest() {
            return range == null ? 0 : range.largest();
        }
    }

    static long bytes(long in, boolean ranged) {
        return Gram.bytes(in) + (ranged ? InputRange.BYTES : 0);
    }

    @Override
    public long bytes() {
        return bytes(in, ranged);
    }

    @Override
    public Sum empty(Desk d) {
        return new Sum(new Gram(in).empty(d), ranged ? new InputRange().empty(d) : null);
    }

    @Override
    public Sum see(Sum s, Tensor x) {
        return new Sum(
                new Gram(in).see(s.gram, x), ranged ? new InputRange().see(s.range, x) : null);
    }

    @Override
    public Sum merge(Sum a, Sum b) {
        return new Sum(
                new Gram(in).merge(a.gram, b.gram),
                ranged ? new InputRange().merge(a.range, b.range) : null);
    }
}
