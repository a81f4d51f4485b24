// SPDX-License-Identifier: Apache-2.0
package io.llmc.evaluation.tasks;

/// Whether two models that answered the same questions differ: only questions count that one of
/// them got right and the other wrong. The exact test (McNemar 1947): were the models equally good,
/// each such question would be either's with probability one half.
final class McNemar {
    private McNemar() {}

    /// The two-sided probability that the split is at least as uneven by chance.
    ///
    /// @param lost right for the original alone
    /// @param won right for the model alone
    static double p(int lost, int won) {
        int all = lost + won;
        int fewer = Math.min(lost, won);
        // C(n, k) / 2^n, from its logarithm: half a to the n is no double beyond 1074.
        double logarithm = -all * Math.log(2);
        double tail = 0;
        for (int k = 0; k <= fewer; k++) {
            tail += Math.exp(logarithm);
            logarithm += Math.log(all - k) - Math.log(k + 1.0);
        }
        return Math.min(1, 2 * tail);
    }
}
