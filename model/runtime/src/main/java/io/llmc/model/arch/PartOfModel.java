// SPDX-License-Identifier: Apache-2.0
package io.llmc.model.arch;

import io.llmc.formats.HfConfig;
import io.llmc.model.Architecture;
import io.llmc.model.ModelSpec;
import io.llmc.model.structure.Size;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;

/// A family whose decoder is the text part of a model that sees or hears, too: the same, described
/// by a section of config.json.
record PartOfModel(Architecture text) implements Architecture {
    @Override
    public List<String> modelTypes() {
        return text.modelTypes();
    }

    @Override
    public String embedding() {
        return text.embedding();
    }

    @Override
    public String head() {
        return text.head();
    }

    @Override
    public ModelSpec spec(HfConfig config, Set<String> tensors) {
        return text.spec(config.text(), tensors);
    }

    @Override
    public Optional<String> module(String linear) {
        return text.module(linear);
    }

    @Override
    public boolean isBuffer(String tensor) {
        return text.isBuffer(tensor);
    }

    @Override
    public boolean travels(String tensor, HfConfig config) {
        return text.travels(tensor, config.text());
    }

    @Override
    public HfConfig untied(HfConfig config) {
        return config.withText(text.untied(config.text()));
    }

    @Override
    public String key(Size size) {
        return text.key(size);
    }

    @Override
    public Optional<String> fixed(Size size, HfConfig config) {
        return size == Size.HIDDEN
                ? Optional.of("what the model sees or hears is put into a stream of that width")
                : text.fixed(size, config.text());
    }

    @Override
    public HfConfig resized(HfConfig config, ModelSpec spec, Map<Size, Integer> sizes) {
        if (sizes.containsKey(Size.HIDDEN)) {
            // Says why not.
            return Architecture.super.resized(config, spec, Map.of(Size.HIDDEN, 0));
        }
        return config.withText(text.resized(config.text(), spec, sizes));
    }

    @Override
    public HfConfig withHeadDim(HfConfig config, ModelSpec spec) {
        return config.withText(text.withHeadDim(config.text(), spec));
    }
}
