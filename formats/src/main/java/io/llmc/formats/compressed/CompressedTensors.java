// SPDX-License-Identifier: Apache-2.0
package io.llmc.formats.compressed;

import io.llmc.formats.ConfigSection;
import io.llmc.formats.checkpoint.LayoutFamily;
import io.llmc.formats.checkpoint.Quantization;
import io.llmc.formats.checkpoint.WeightLayout;
import java.util.List;
import java.util.Optional;

/// compressed-tensors, the library of llm-compressor and vLLM.
public final class CompressedTensors implements LayoutFamily {
    @Override
    public List<WeightLayout> layouts() {
        return List.of(new CompressedTensorsLayout());
    }

    @Override
    public Optional<Quantization> read(ConfigSection config) {
        boolean ours =
                switch (config.text("quant_method", "")) {
                    case "compressed-tensors" -> true;
                    // Its first files had no method.
                    case "" -> config.has("config_groups") || config.has("sparsity_config");
                    default -> false;
                };
        return ours ? Optional.of(CompressedTensorsConfig.of(config)) : Optional.empty();
    }
}
