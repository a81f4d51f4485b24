// SPDX-License-Identifier: Apache-2.0
package io.llmc.formats.awq;

import io.llmc.formats.ConfigSection;
import io.llmc.formats.checkpoint.LayoutFamily;
import io.llmc.formats.checkpoint.Quantization;
import io.llmc.formats.checkpoint.WeightLayout;
import java.util.List;
import java.util.Optional;

/// AutoAWQ's models, which vLLM, transformers, GPTQModel and SGLang read.
public final class Awq implements LayoutFamily {
    @Override
    public List<WeightLayout> layouts() {
        return List.of(new AwqLayout());
    }

    @Override
    public Optional<Quantization> read(ConfigSection config) {
        return config.text("quant_method", "").equals("awq")
                ? Optional.of(AwqConfig.of(config))
                : Optional.empty();
    }
}
