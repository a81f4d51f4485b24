// SPDX-License-Identifier: Apache-2.0
package io.llmc.pipeline.plan;

import java.util.List;
import java.util.function.IntToDoubleFunction;

/// What speculative decoding of one request can gain on a device (Leviathan et al., 2023, arXiv
/// 2211.17192, theorem 3.8): a draft writes `k` tokens one by one, the model checks them in one
/// pass.
///
/// @param target the model on the device
/// @param draft what drafts for it there
/// @param acceptance parts of drafted tokens that are taken over, by place, of those whose
///   forerunners were; the last one holds for all places behind it
/// @param depth tokens that are cached before
public record Drafting(Roofline target, Roofline draft, List<Double> acceptance, long depth) {
    /// Most tokens that are drafted at a time.
    public static final int MOST = 16;

    public Drafting {
        acceptance = List.copyOf(acceptance);
    }

    /// Tokens of a round by its time, in tokens of the model alone: `(1 + a1 + a1 a2 + ...) / (pass
    /// + k draft)`.
    ///
    /// @param acceptance by place, from 0
    /// @param pass seconds of a pass over drafted tokens by those of a token of the model alone
    /// @param token seconds of a drafted token, likewise
    public static double gain(IntToDoubleFunction acceptance, int k, double pass, double token) {
        if (k == 0) {
            return 1;
        }
        double expected = 1;
        double all = 1;
        for (int i = 0; i < k; i++) {
            all *= acceptance.applyAsDouble(i);
            expected += all;
        }
        return expected / (pass + k * token);
    }

    /// The number of drafted tokens that gains most; 0 where the model alone is fastest.
    public static int best(IntToDoubleFunction gain) {
        int best = 0;
        for (int k = 1; k <= MOST; k++) {
            best = gain.applyAsDouble(k) > gain.applyAsDouble(best) ? k : best;
        }
        return best;
    }

    /// How many times as fast as the model alone.
    public double speedup(int k) {
        double alone = target.decode(1, depth).seconds();
        return gain(
                i -> acceptance.get(Math.min(i, acceptance.size() - 1)),
                k,
                target.check(k + 1, depth).seconds() / alone,
                draft.decode(1, depth).seconds() / alone);
    }

    public int best() {
        return best(this::speedup);
    }
}
