// SPDX-License-Identifier: Apache-2.0
package io.llmc.model.arch;

import io.llmc.backend.RouterSpec;
import io.llmc.backend.RouterSpec.Groups;
import io.llmc.backend.RouterSpec.Scores;
import io.llmc.formats.HfConfig;
import io.llmc.formats.Range;
import io.llmc.model.ExpertsSpec.Router;
import java.util.stream.Stream;

/// How tokens choose experts in DeepSeek's models and in those like them: what a family does where
/// its config.json does not say. Kimi Linear has the same keys under other names.
///
/// @param scores where nothing like `scoring_func` is there
/// @param method where `topk_method` is not
/// @param renormalised where nothing like `norm_topk_prob` is
/// @param factor where `routed_scaling_factor` is not
record ExpertChoice(Scores scores, String method, boolean renormalised, double factor) {
    private static final String FACTOR = "routed_scaling_factor";
    private static final String GREEDY = "greedy";
    private static final String IN_GROUPS = "group_limited_greedy";

    /// By a bias that chooses and does not weigh: without an auxiliary loss, top-k of corrected
    /// scores.
    private static final String CORRECTED = "noaux_tc";

    /// DeepSeek V2's (2024, arXiv 2405.04434).
    static final ExpertChoice SOFTMAX = new ExpertChoice(Scores.SOFTMAX, GREEDY, false, 1);

    /// DeepSeek V3's (2024, arXiv 2412.19437).
    static final ExpertChoice SIGMOID = new ExpertChoice(Scores.SIGMOID, CORRECTED, true, 1);

    private static final Range GROUPS = Range.upTo(64);

    ExpertChoice times(double other) {
        return new ExpertChoice(scores, method, renormalised, other);
    }

    /// @param name of the layer that makes logits
    /// @param correction name of the bias that chooses, where the method has one
    Router router(Mixture mixture, String name, String correction) {
        HfConfig c = mixture.sizes().config();
        RouterSpec choice =
                RouterSpec.of(
                                scores(c, scores),
                                c.flag(
                                        firstOf(c, "norm_topk_prob", "moe_renormalize"),
                                        renormalised))
                        .times((float) (c.has(FACTOR) ? c.decimal(FACTOR, 1) : factor));
        return switch (c.text("topk_method", method)) {
            case GREEDY -> Router.of(name, choice);
            case IN_GROUPS -> Router.of(name, choice.in(groups(mixture, 1)));
            case CORRECTED ->
                    Router.of(name, choice.in(groups(mixture, 2))).correctedBy(correction);
            default ->
                    throw c.wrong(
                            "topk_method", "%s, %s or %s".formatted(GREEDY, IN_GROUPS, CORRECTED));
        };
    }

    /// What scores are made of logits.
    static Scores scores(HfConfig c, Scores absent) {
        String key =
                firstOf(
                        c,
                        "scoring_func",
                        "score_func",
                        "moe_router_activation_func",
                        "expert_selection_fn");
        if (!c.mentions(key)) {
            return absent;
        }
        return switch (c.text(key, "")) {
            case "softmax" -> Scores.SOFTMAX;
            case "sigmoid" -> Scores.SIGMOID;
            default -> throw c.wrong(key, "softmax or sigmoid");
        };
    }

    /// Null where there is one.
    ///
    /// @param best experts that a group is judged by
    private static Groups groups(Mixture mixture, int best) {
        HfConfig c = mixture.sizes().config();
        String key = firstOf(c, "n_group", "num_expert_group");
        int count = c.integer(key, GROUPS, 1);
        int kept = c.integer("topk_group", GROUPS, 1);
        if (count == 1) {
            return null;
        }
        int experts = mixture.experts();
        if (experts % count != 0
                || kept > count
                || kept * (experts / count) < mixture.topK()
                || experts / count < best) {
            throw c.wrong(
                    key,
                    "a number of groups that %d experts make, of which %d hold the %d that a token goes to"
                            .formatted(experts, kept, mixture.topK()));
        }
        return new Groups(count, kept, best);
    }

    private static String firstOf(HfConfig c, String... keys) {
        return Stream.of(keys).filter(c::has).findFirst().orElse(keys[0]);
    }
}
