// SPDX-License-Identifier: Apache-2.0
package io.llmc.prune;

import io.llmc.pipeline.pass.PassFactory;
import io.llmc.prune.experts.ExpertsPass;
import io.llmc.prune.layers.LayersPass;
import io.llmc.prune.slice.SlicePass;
import io.llmc.prune.weights.MagnitudePass;
import io.llmc.prune.weights.SparseGptPass;
import io.llmc.prune.weights.WandaPass;
import io.llmc.prune.width.KvHeadsPass;
import io.llmc.prune.width.WidthPass;
import java.util.List;

/// Every pruner, by its name in a recipe.
public final class PrunePasses {
    public static final List<PassFactory> ALL =
            List.of(
                    MagnitudePass.FACTORY,
                    WandaPass.FACTORY,
                    SparseGptPass.FACTORY,
                    LayersPass.FACTORY,
                    WidthPass.FACTORY,
                    SlicePass.FACTORY,
                    ExpertsPass.FACTORY,
                    KvHeadsPass.FACTORY);

    private PrunePasses() {}
}
