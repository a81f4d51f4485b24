// SPDX-License-Identifier: Apache-2.0
package io.llmc.model.decoding;

import io.llmc.tensor.DType;

/// How large a cache is, and how exact.
///
/// @param tokens of all sequences together, about
/// @param sequences at a time
/// @param rows of a pass at most; longer prompts go through in several
/// @param type of cached numbers: F32, BF16, F16, or 8 bits with a scale for each token of a head
///   (I8, F8_E4M3)
/// @param undone most tokens that a sequence may be cut back by
public record CacheSettings(long tokens, int sequences, int rows, DType type, int undone) {
    /// Tokens of a page: as many as make a panel of the widest vectors.
    static final int PAGE = 32;

    public CacheSettings {
        boolean known = type.isFloat() || type == DType.I8 || type == DType.F8_E4M3;
        if (tokens < 1 || sequences < 1 || rows < 1 || undone < 0 || !known) {
            throw new IllegalArgumentException(
                    "no cache of %d tokens in %d sequences, %d a pass, as %s"
                            .formatted(tokens, sequences, rows, type));
        }
    }

    /// One sequence in F32.
    public static CacheSettings of(int tokens) {
        return new CacheSettings(tokens, 1, Math.min(tokens, 512), DType.F32, 0);
    }

    public CacheSettings withTokens(long other) {
        return new CacheSettings(other, sequences, rows, type, undone);
    }

    /// Whether numbers have scales beside them.
    boolean scaled() {
        return !type.isFloat();
    }

    /// Pages of a layer that sees `window` keys; 0 for all.
    long pages(int window) {
        // Each sequence's last page may be partly filled.
        long all = Math.ceilDiv(tokens, (long) PAGE) + sequences;
        if (window == 0) {
            return all;
        }
        // What a pass adds lies there until the pass is over.
        long kept = Math.ceilDiv((long) window + undone, PAGE) + 1;
        long added = Math.ceilDiv((long) rows, PAGE) + sequences;
        return Math.min(all, kept * sequences + added);
    }
}
