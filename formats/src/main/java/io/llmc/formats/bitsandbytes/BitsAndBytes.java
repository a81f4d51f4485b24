// SPDX-License-Identifier: Apache-2.0
package io.llmc.formats.bitsandbytes;

import io.llmc.formats.ConfigSection;
import io.llmc.formats.checkpoint.LayoutFamily;
import io.llmc.formats.checkpoint.Quantization;
import io.llmc.formats.checkpoint.WeightLayout;
import io.llmc.tensor.Scheme;
import java.util.List;
import java.util.Optional;

/// The models that transformers saves after it has quantized them while loading.
public final class BitsAndBytes implements LayoutFamily {
    /// That a model is one of these: the rest is said beside each weight.
    record Config() implements Quantization {
        /// None that [io.llmc.tensor.Encoding] has a word for: its layers become plain values.
        @Override
        public Optional<Scheme> scheme(String linear) {
            return Optional.empty();
        }
    }

    @Override
    public List<WeightLayout> layouts() {
        return List.of(new BitsAndBytesLayout());
    }

    @Override
    public Optional<Quantization> read(ConfigSection config) {
        if (!config.text("quant_method", "").equals("bitsandbytes")) {
            return Optional.empty();
        }
        String storage = config.text("bnb_4bit_quant_storage", "uint8");
        return storage.equals("uint8")
                ? Optional.of(new Config())
                : Quantization.refuse(config, "bitsandbytes stored as " + storage);
    }
}
