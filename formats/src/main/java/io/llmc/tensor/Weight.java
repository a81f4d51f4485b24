// SPDX-License-Identifier: Apache-2.0
package io.llmc.tensor;

import java.util.stream.Stream;

/// A linear layer's `[out, in]` matrix in one of the encodings that every backend must be able to
/// multiply by.
///
/// Adding an encoding means adding a record here; the compiler then lists every switch that must
/// learn it.
public sealed interface Weight {
    long outFeatures();

    long inFeatures();

    /// The first rows: a weight `[rows, in]` over the same memory.
    default Weight first(long rows) {
        return switch (this) {
            case Dense(Tensor values) -> new Dense(values.rows(0, rows));
            case Grouped g ->
                    new Grouped(
                            g.spec,
                            g.inFeatures,
                            g.codes.rows(0, rows),
                            g.scales.rows(0, rows),
                            g.zeros.rows(0, rows),
                            g.groupIndex);
        };
    }

    /// Everything that the encoding holds in memory.
    Stream<Tensor> tensors();

    /// Plain values.
    ///
    /// @param values F32, F16 or BF16 `[out, in]`
    record Dense(Tensor values) implements Weight {
        public Dense {
            if (!values.dtype().isFloat() || values.shape().rank() != 2) {
                throw new IllegalArgumentException("not a dense weight: " + values);
            }
        }

        @Override
        public long outFeatures() {
            return values.rows();
        }

        @Override
        public long inFeatures() {
            return values.cols();
        }

        @Override
        public Stream<Tensor> tensors() {
            return Stream.of(values);
        }
    }

    /// Unsigned codes with a scale and a zero point a group: `w[o,i] = round((code[o,i] -
    /// zero[o,g]) * scale[o,g])`, where `g = i / groupLength`, or `groupIndex[i]` where that is
    /// given, and `round` goes to the dtype of the scales, as every reader of these files does.
    ///
    /// @param codes I32 `[out, words]`; each row is one little-endian bit stream, the first code in
    ///   the lowest bits, codes may straddle words. These are the bytes of compressed-tensors'
    ///   `weight_packed`.
    /// @param scales F32, F16 or BF16 `[out, groups]`
    /// @param zeros U8 `[out, groups]`; all `middleCode` where the spec is symmetric
    /// @param groupIndex I32 `[in]`, or null where groups are contiguous
    record Grouped(
            QuantSpec spec,
            long inFeatures,
            Tensor codes,
            Tensor scales,
            Tensor zeros,
            Tensor groupIndex)
            implements Weight {
        public Grouped {
            long out = codes.rows();
            long groups = spec.groups(inFeatures);
            boolean fits =
                    codes.dtype() == DType.I32
                            && codes.is(out, spec.words(inFeatures))
                            && scales.dtype().isFloat()
                            && scales.is(out, groups)
                            && zeros.dtype() == DType.U8
                            && zeros.is(out, groups)
                            && (groupIndex == null
                                    || groupIndex.dtype() == DType.I32
                                            && groupIndex.isVector(inFeatures));
            if (!fits) {
                throw new IllegalArgumentException(
                        "%s of %d inputs does not fit codes %s, scales %s, zeros %s, group index %s"
                                .formatted(spec, inFeatures, codes, scales, zeros, groupIndex));
            }
        }

        @Override
        public long outFeatures() {
            return codes.rows();
        }

        @Override
        public Stream<Tensor> tensors() {
            Stream<Tensor> always = Stream.of(codes, scales, zeros);
            return groupIndex == null ? always : Stream.concat(always, Stream.of(groupIndex));
        }
    }
}
