// SPDX-License-Identifier: Apache-2.0
package io.llmc.prune;

import io.llmc.pipeline.PassFactory;
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
