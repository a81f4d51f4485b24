// SPDX-License-Identifier: Apache-2.0
package io.llmc.model.structure;

import java.util.List;

/// Channels that are read as they are made, as the values of a head: those of a part may be mixed
/// with each other, turned where they are made and turned back where they are read, without
/// changing what a block computes.
///
/// @param rows where the parts are made
/// @param readers names of all linear layers that read them; each `rows.width()` of their columns
///   are a part
public record MixGroup(Span rows, int parts, List<String> readers) {}
