// SPDX-License-Identifier: Apache-2.0
package io.llmc.backend;

/// What attention is besides its operands.
///
/// @param scale of the products of queries and keys
/// @param softcap scores become `cap * tanh(score / cap)`; 0 for none
public record AttentionSpec(Heads heads, Reach reach, float scale, float softcap) {
    /// Query head `h` asks key head `h * kv / count`.
    ///
    /// @param count heads of queries, a multiple of `kv`
    /// @param kv heads of keys and values
    /// @param dim columns of a head's queries and keys
    /// @param valueDim columns of a head's values, and of what it gives
    public record Heads(int count, int kv, int dim, int valueDim) {
        public Heads {
            if (count < 1 || kv < 1 || count % kv != 0 || dim < 1 || valueDim < 1) {
                throw new IllegalArgumentException(
                        "%d heads of %d and %d columns over %d"
                                .formatted(count, dim, valueDim, kv));
            }
        }

        /// Query heads that share a key head.
        public int group() {
            return count / kv;
        }

        public int queryWidth() {
            return Math.multiplyExact(count, dim);
        }

        public int keyWidth() {
            return Math.multiplyExact(kv, dim);
        }

        public int valueWidth() {
            return Math.multiplyExact(kv, valueDim);
        }

        /// Columns of what attention gives.
        public int outWidth() {
            return Math.multiplyExact(count, valueDim);
        }
    }

    /// The same for sequences of other lengths.
    public AttentionSpec with(Reach other) {
        return new AttentionSpec(heads, other, scale, softcap);
    }

    /// Which keys of its sequence a query sees: those from [#first] to [#position], its own.
    ///
    /// Queries are the last of a sequence, so that a decoder asks with new tokens alone: query t
    /// stands at position `keys - length + t`.
    ///
    /// @param length queries of one sequence
    /// @param keys of one sequence, as many or more
    /// @param window keys that a position sees, itself among them; 0 for all before it
    /// @param chunk a position sees keys `s` with `s / chunk = position / chunk` only (Llama 4's
    ///   local layers); 0 for all
    public record Reach(int length, int keys, int window, int chunk) {
        public Reach {
            if (length < 1 || keys < length || window < 0 || chunk < 0) {
                throw new IllegalArgumentException(
                        "%d queries of %d keys, window %d, chunk %d"
                                .formatted(length, keys, window, chunk));
            }
        }

        public int position(int query) {
            return keys - length + query;
        }

        /// The first key that a query sees; never before that of an earlier query.
        public int first(int query) {
            int position = position(query);
            int first = window == 0 ? 0 : Math.max(0, position - window + 1);
            return chunk == 0 ? first : Math.max(first, position / chunk * chunk);
        }
    }
}
