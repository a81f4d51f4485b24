// SPDX-License-Identifier: Apache-2.0
package io.llmc.model;

import io.llmc.backend.Op;
import io.llmc.model.BodySpec.InnerTensor;
import java.util.List;
import java.util.function.UnaryOperator;

/// How a block with several residual streams makes the one that its branches read and write. In a
/// row that one stands first, and the streams behind it.
public sealed interface ManyStreamsSpec permits AltUpSpec, HyperConnectionsSpec {
    /// Its own, which are no weights of layers.
    List<InnerTensor> tensors();

    /// What people call it.
    String role();

    /// Operations that not every device has.
    default List<Class<? extends Op>> special() {
        return List.of();
    }

    ManyStreamsSpec renamed(UnaryOperator<String> names);

    ManyStreams build(BlockBuilder from);
}
