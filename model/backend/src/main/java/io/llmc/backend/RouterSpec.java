// SPDX-License-Identifier: Apache-2.0
package io.llmc.backend;

/// How a router makes a choice of experts, and their weights, out of logits.
///
/// A token's experts are those of the largest `score + bias`, among the groups that are kept, the
/// largest first, a tie to the lower expert. Their weights are `factor * score`, divided by the sum
/// of the chosen scores and eps where they are renormalised: the bias (of DeepSeek V3, 2024, arXiv
/// 2412.19437) chooses and does not weigh.
///
/// @param groups null where all experts are one
/// @param eps added to the sum that renormalised weights are divided by
/// @param jitter of [Scores#SPARSE_MIXER]; else 0
public record RouterSpec(
        Scores scores, Groups groups, boolean renormalised, float eps, float factor, float jitter) {
    /// What scores are made of logits.
    public enum Scores {
        /// Over all experts.
        SOFTMAX,

        /// Of each by itself.
        SIGMOID,

        /// `sqrt(ln(1 + e^x))`
        SQRT_SOFTPLUS,

        /// SparseMixer (Liu et al., 2023, arXiv 2310.00811) as it infers: the weight of each pick
        /// is its softmax over the logits that are left with `(best - x) / max(|x|, best) <= 2
        /// jitter`, the picks before it gone.
        SPARSE_MIXER
    }

    /// Experts in groups of one size, of which a token sees the best ones only (DeepSeek V2, 2024,
    /// arXiv 2405.04434).
    ///
    /// @param kept how many a token sees
    /// @param best how many of its experts a group is judged by: the sum of their `score + bias`
    public record Groups(int count, int kept, int best) {
        public Groups {
            if (kept < 1 || count < kept || count > 64 || best < 1 || best > 2) {
                throw new IllegalArgumentException(
                        "the best %d of %d groups, by their %d best".formatted(kept, count, best));
            }
        }
    }

    public RouterSpec {
        boolean mixes = scores == Scores.SPARSE_MIXER;
        if (!(eps >= 0) || !Float.isFinite(factor) || mixes && (renormalised || groups != null)) {
            throw new IllegalArgumentException(
                    "no router of %s with eps %s, factor %s".formatted(scores, eps, factor));
        }
    }

    public static RouterSpec softmax(boolean renormalised) {
        return of(Scores.SOFTMAX, renormalised);
    }

    public static RouterSpec of(Scores scores, boolean renormalised) {
        return new RouterSpec(scores, null, renormalised, 0, 1, 0);
    }

    public RouterSpec times(float weights) {
        return new RouterSpec(scores, groups, renormalised, eps, factor * weights, jitter);
    }

    /// Null for none.
    public RouterSpec in(Groups some) {
        return new RouterSpec(scores, some, renormalised, eps, factor, jitter);
    }

    /// Whether so many of `experts` can be chosen.
    public boolean gives(long chosen, long experts) {
        if (groups == null) {
            return chosen <= experts;
        }
        long size = experts / groups.count();
        return experts % groups.count() == 0
                && groups.best() <= size
                && chosen <= groups.kept() * size;
    }
}
