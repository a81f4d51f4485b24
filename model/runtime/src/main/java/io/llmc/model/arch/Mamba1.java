// SPDX-License-Identifier: Apache-2.0
package io.llmc.model.arch;

import io.llmc.formats.HfConfig;
import io.llmc.model.Architecture;
import io.llmc.model.ModelSpec;
import io.llmc.model.structure.NormSpec;
import io.llmc.model.structure.Size;
import java.util.List;
import java.util.Optional;
import java.util.Set;

/// Mamba (2023, arXiv 2312.00752), and Falcon Mamba (2024, arXiv 2410.05355), which normalises what
/// is selected.
final class Mamba1 implements Architecture {
    private static final String FALCON = "falcon_mamba";

    private static final SelectiveScans.Keys KEYS =
            new SelectiveScans.Keys(
                    "expand", "intermediate_size", "state_size", "time_step_rank", "conv_kernel");

    @Override
    public List<String> modelTypes() {
        return List.of("mamba", FALCON);
    }

    @Override
    public ModelSpec spec(HfConfig c, Set<String> tensors) {
        Backbone backbone = Backbone.of(c);
        SelectiveScans scans =
                SelectiveScans.of(
                        c,
                        backbone.hidden(),
                        KEYS,
                        c.flag("use_bias", false),
                        c.flag("use_conv_bias", true));
        boolean normed = c.modelType().equals(FALCON);
        double eps = normed ? c.decimal("mixer_rms_eps", Sizes.EPS, 1e-6) : 0;
        return backbone.model(
                tensors,
                true,
                p -> scans.body(p, normed ? name -> NormSpec.rms(name, eps).plain() : null));
    }

    @Override
    public Optional<String> fixed(Size size, HfConfig config) {
        return size == Size.HIDDEN
                ? Optional.of("its scans have a multiple of the stream's channels")
                : Optional.empty();
    }
}
