// SPDX-License-Identifier: Apache-2.0
package io.llmc.pipeline.plan;

import java.util.List;
import java.util.Optional;

/// What one decoder block has, as far as it costs memory or time.
///
/// @param products of every token
/// @param experts empty where there are none
/// @param attentions of its bodies that have keys and values
/// @param rest bytes of norms and other small tensors
/// @param widest channels of a token that its widest branch holds at once
/// @param branches that each add to the residual stream; those that share an input count once
record BlockCost(
        List<Product> products,
        Optional<Experts> experts,
        List<AttentionCost> attentions,
        long rest,
        long widest,
        int branches) {
    /// A linear layer, or several as one.
    ///
    /// @param weights that a token is multiplied with
    /// @param bytes as they are stored, scales and biases with them
    record Product(long weights, long bytes, Arithmetic arithmetic) {}

    /// @param one layers of an expert, all of one size
    /// @param each that a token goes to
    record Experts(List<Product> one, int count, int each) {
        long bytes() {
            return one.stream().mapToLong(Product::bytes).sum();
        }

        /// How many different ones some tokens reach, where they choose evenly.
        double reached(double tokens) {
            return count * (1 - Math.pow(1 - (double) each / count, tokens));
        }
    }

    /// Keys and values that are kept, and what a query costs.
    ///
    /// @param heads of queries
    /// @param kvHeads with keys and values of their own
    /// @param kept channels that the cache has of each of them
    /// @param width channels of a head's key and value together, as a prompt goes through
    /// @param asked the same as one token goes through
    /// @param window keys that a position sees; 0 for all
    /// @param chosen most of these that it looks at; 0 for all
    record AttentionCost(
            int heads, int kvHeads, int kept, int width, int asked, int window, int chosen) {
        AttentionCost(int heads, int kvHeads, int width, int window) {
            this(heads, kvHeads, width, width, width, window);
        }

        AttentionCost(int heads, int kvHeads, int kept, int width, int asked, int window) {
            this(heads, kvHeads, kept, width, asked, window, 0);
        }

        /// The same of a choice of keys.
        AttentionCost choosing(int keys) {
            return new AttentionCost(heads, kvHeads, kept, width, asked, window, keys);
        }

        /// Keys that the token behind `length` others looks at.
        long span(long length) {
            long seen = window == 0 ? length : Math.min(length, window);
            return chosen == 0 ? seen : Math.min(seen, chosen);
        }

        /// The sum of all spans of a sequence.
        double spans(long length) {
            double w = span(length);
            return w * (w + 1) / 2 + (length - w) * w;
        }

        /// Numbers that are kept of a token.
        long ofToken() {
            return (long) kvHeads * kept;
        }

        /// Operations of a query token for each key that it sees.
        ///
        /// @param alone whether it comes alone, and not with a prompt
        double operations(boolean alone) {
            return 2.0 * heads * (alone ? asked : width);
        }
    }

    BlockCost with(long otherRest) {
        return new BlockCost(products, experts, attentions, otherRest, widest, branches);
    }

    long bytes() {
        return products.stream().mapToLong(Product::bytes).sum()
                + experts.map(e -> e.bytes() * e.count()).orElse(0L)
                + rest;
    }
}
