// SPDX-License-Identifier: Apache-2.0
package io.llmc.formats.checkpoint;

import io.llmc.formats.ConfigSection;
import java.util.List;
import java.util.Optional;

/// GPTQ as GPTQModel writes it, in both versions of its zero points.
public final class GptqFamily implements LayoutFamily {
    @Override
    public List<WeightLayout> layouts() {
        return List.of(
                new GptqLayout(GptqLayout.Version.V1), new GptqLayout(GptqLayout.Version.V2));
    }

    @Override
    public Optional<Quantization> read(ConfigSection config) {
        return config.text("quant_method", "").equals("gptq")
                ? Optional.of(GptqConfig.of(config))
                : Optional.empty();
    }
}
