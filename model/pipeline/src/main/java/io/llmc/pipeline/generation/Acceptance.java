// SPDX-License-Identifier: Apache-2.0
package io.llmc.pipeline.generation;

import java.util.List;

/// Which drafted tokens a model takes over, so that what comes out has the model's own
/// distribution: a token x that was drawn from q is taken with probability `min(1, p(x) / q(x))`,
/// and what is drawn in the place of the first that is not comes from `max(0, p - q)` (Leviathan et
/// al., 2023, arXiv 2211.17192). Where nothing is drawn, the best token of p is taken and no other.
///
/// @param accepted drafted tokens that are taken over, the first ones
/// @param next the token behind them
record Acceptance(int accepted, int next) {
    /// @param p the model's distribution of each drafted token, and of the one behind the last
    /// @param q what each was drawn from
    /// @param drafted ids
    static Acceptance of(
            List<Distribution> p, List<Distribution> q, List<Integer> drafted, Draws draws) {
        for (int i = 0; i < drafted.size(); i++) {
            int id = drafted.get(i);
            double wanted = p.get(i).of(id);
            double offered = q.get(i).of(id);
            // Only where there is a choice is a number drawn: greedy decoding draws none.
            boolean taken = wanted >= offered || wanted > 0 && draws.next() * offered < wanted;
            if (!taken) {
                return new Acceptance(i, drawn(rest(p.get(i), q.get(i)), draws));
            }
        }
        return new Acceptance(drafted.size(), drawn(p.getLast(), draws));
    }

    private static int drawn(Distribution p, Draws draws) {
        return p.ids().length == 1 ? p.ids()[0] : p.draw(draws.next());
    }

    /// `max(0, p - q)`, normalised.
    private static Distribution rest(Distribution p, Distribution q) {
        double[] left = new double[p.ids().length];
        double sum = 0;
        for (int i = 0; i < left.length; i++) {
            left[i] = Math.max(0, p.p()[i] - q.of(p.ids()[i]));
            sum += left[i];
        }
        if (sum == 0) {
            // Both are the same but for rounding.
            return p;
        }
        for (int i = 0; i < left.length; i++) {
            left[i] /= sum;
        }
        return new Distribution(p.ids(), left);
    }
}
