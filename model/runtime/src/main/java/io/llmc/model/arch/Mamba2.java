// SPDX-License-Identifier: Apache-2.0
package io.llmc.model.arch;

import io.llmc.formats.HfConfig;
import io.llmc.formats.Range;
import io.llmc.model.Architecture;
import io.llmc.model.ModelSpec;
import io.llmc.model.structure.NormSpec;
import io.llmc.model.structure.Size;
import java.util.List;
import java.util.Optional;
import java.util.Set;

/// Mamba-2 and Codestral Mamba.
final class Mamba2 implements Architecture {
    @Override
    public List<String> modelTypes() {
        return List.of("mamba2");
    }

    @Override
    public ModelSpec spec(HfConfig c, Set<String> tensors) {
        Backbone backbone = Backbone.of(c);
        var keys = new Scans.Keys("num_heads", "head_dim", "n_groups", "state_size", "conv_kernel");
        Scans scans =
                Scans.of(c, keys, c.flag("use_bias", false), c.flag("use_conv_bias", true))
                        .requireChannels(
                                "expand",
                                backbone.hidden() * c.integer("expand", Range.upTo(256), 2));
        return backbone.model(
                tensors, false, p -> scans.body(p, NormSpec.rms(p + "norm", backbone.eps())));
    }

    @Override
    public Optional<String> fixed(Size size, HfConfig config) {
        return size == Size.HIDDEN
                ? Optional.of("its heads have expand times as many channels as the stream")
                : Optional.empty();
    }
}
