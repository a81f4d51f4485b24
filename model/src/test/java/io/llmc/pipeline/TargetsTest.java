// SPDX-License-Identifier: Apache-2.0
package io.llmc.pipeline;

import static org.assertj.core.api.Assertions.assertThat;

import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class TargetsTest {
    @ParameterizedTest
    @CsvSource({
        "*,model.layers.0.mlp.up_proj,true",
        "*.mlp.*,model.layers.0.mlp.up_proj,true",
        "*.mlp.*,model.layers.0.self_attn.q_proj,false",
        "up_proj,model.layers.0.mlp.up_proj,true",
        "?p_proj,model.layers.0.mlp.up_proj,true",
        "up,model.layers.0.mlp.up_proj,false",
        "model.layers.1.*,model.layers.10.mlp.up_proj,false",
        "model.layers.1?.*,model.layers.10.mlp.up_proj,true",
        "model.layers.0.mlp.up_proj,modelXlayers.0.mlp.up_proj,false",
    })
    void globs(String glob, String name, boolean matches) {
        assertThat(Targets.matches(glob, name)).isEqualTo(matches);
    }

    @Test
    void ignoreWinsOverInclude() {
        Targets t = new Targets(List.of("*.mlp.*"), List.of("down_proj"));
        assertThat(t.selects("model.layers.0.mlp.up_proj")).isTrue();
        assertThat(t.selects("model.layers.0.mlp.down_proj")).isFalse();
        assertThat(t.selects("model.layers.0.self_attn.q_proj")).isFalse();
        assertThat(Targets.ALL.selects("anything")).isTrue();
    }
}
