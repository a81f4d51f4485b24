// SPDX-License-Identifier: Apache-2.0
package io.llmc.formats.gptq;

import io.llmc.formats.ConfigSection;
import io.llmc.formats.checkpoint.LayoutFamily;
import io.llmc.formats.checkpoint.Quantization;
import io.llmc.formats.checkpoint.WeightLayout;
import java.util.List;
import java.util.Optional;
import java.util.stream.Stream;

/// GPTQ as GPTQModel writes it: both versions of zero points, and planes.
public final class Gptq implements LayoutFamily {
    @Override
    public List<WeightLayout> layouts() {
        return Stream.of(Version.values()).<WeightLayout>map(GptqLayout::new).toList();
    }

    @Override
    public Optional<Quantization> read(ConfigSection config) {
        return config.text("quant_method", "").equals("gptq")
                ? Optional.of(GptqConfig.of(config))
                : Optional.empty();
    }
}
