// SPDX-License-Identifier: Apache-2.0
package io.llmc.model.arch;

import static org.assertj.core.api.Assertions.assertThat;

import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import io.llmc.backend.RouterSpec;
import io.llmc.backend.RouterSpec.Groups;
import io.llmc.backend.RouterSpec.Scores;
import io.llmc.formats.HfConfig;
import io.llmc.model.BodySpec;
import io.llmc.model.BranchSpec;
import io.llmc.model.ExpertsSpec;
import io.llmc.model.SumSpec;
import java.io.IOException;
import java.util.stream.Stream;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/// What config.json says of the choice of experts is what routers do.
class ExpertChoiceTest {
    /// @param groups their number, those that are kept and the experts that one is judged by
    @ParameterizedTest
    @CsvSource(
            delimiter = '|',
            nullValues = "-",
            value = {
                "deepseek_v2  | {}                                     | SOFTMAX | false | - |"
                        + " false",
                "deepseek_v2  | {topk_method: greedy, n_group: 2}      | SOFTMAX | false | - |"
                        + " false",
                "deepseek_v2  | {topk_method: group_limited_greedy, n_group: 2, topk_group: 1} "
                        + "| SOFTMAX | false | 2 1 1 | false",
                "deepseek_v2  | {scoring_func: sigmoid, topk_method: noaux_tc, norm_topk_prob:"
                        + " true} | SIGMOID | true | - | true",
                "deepseek_v3  | {}                                     | SIGMOID | true  | - |"
                        + " true",
                "deepseek_v3  | {n_group: 2, topk_group: 1}            | SIGMOID | true  | 2 1 2 |"
                        + " true",
                "deepseek_v3  | {scoring_func: softmax}                | SOFTMAX | true  | - |"
                        + " true",
                "deepseek_v3  | {topk_method: greedy}                  | SIGMOID | true  | - |"
                        + " false",
                "glm4_moe     | {scoring_func: softmax}                | SOFTMAX | true  | - |"
                        + " true",
                "kimi_linear  | {num_expert_group: 2, topk_group: 1}   | SIGMOID | true  | 2 1 2 |"
                        + " true",
                "kimi_linear  | {moe_router_activation_func: softmax, moe_renormalize: false} "
                        + "| SOFTMAX | false | - | true",
                "afmoe        | {score_func: softmax, route_norm: false} | SOFTMAX | false | - |"
                        + " true",
                "cohere2_moe  | {}                                     | SOFTMAX | true  | - |"
                        + " false",
                "cohere2_moe  | {expert_selection_fn: sigmoid}         | SIGMOID | true  | - |"
                        + " false",
            })
    void keysSayHowExpertsAreChosen(
            String type,
            String keys,
            Scores scores,
            boolean renormalised,
            String groups,
            boolean corrected)
            throws IOException {
        HfConfig config = Samples.of(type);
        var lenient =
                new ObjectMapper()
                        .readTree(
                                keys.replaceAll("([a-z_0-9]+)", "\"$1\"")
                                        .replaceAll("\"([0-9]+|true|false)\"", "$1"));
        for (var entry : ((ObjectNode) lenient).properties()) {
            config = config.with(entry.getKey(), entry.getValue());
        }
        ExpertsSpec.Router router =
                Architectures.specOf(config).layers().stream()
                        .flatMap(layer -> layer.branches().stream())
                        .flatMap(ExpertChoiceTest::bodies)
                        .filter(ExpertsSpec.class::isInstance)
                        .map(body -> ((ExpertsSpec) body).router())
                        .findFirst()
                        .orElseThrow();
        RouterSpec choice = router.choice();
        assertThat(choice.scores()).isEqualTo(scores);
        assertThat(choice.renormalised()).isEqualTo(renormalised);
        assertThat(choice.groups()).isEqualTo(groups == null ? null : groups(groups.split(" ")));
        assertThat(router.correction() != null).isEqualTo(corrected);
    }

    private static Groups groups(String[] numbers) {
        return new Groups(
                Integer.parseInt(numbers[0]),
                Integer.parseInt(numbers[1]),
                Integer.parseInt(numbers[2]));
    }

    private static Stream<BodySpec> bodies(BranchSpec branch) {
        return branch.body() instanceof SumSpec sum
                ? sum.terms().stream().flatMap(ExpertChoiceTest::bodies)
                : Stream.of(branch.body());
    }
}
