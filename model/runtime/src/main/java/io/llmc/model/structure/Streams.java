// SPDX-License-Identifier: Apache-2.0
package io.llmc.model.structure;

import java.util.List;

/// Which linear layers of a body touch the residual stream.
///
/// @param readers of the stream as the norm before the body leaves it
/// @param writers whose outputs are added to it
public record Streams(List<String> readers, List<String> writers) {}
