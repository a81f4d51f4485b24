// SPDX-License-Identifier: Apache-2.0
package io.llmc.model.structure;

/// What a layer keeps of every token in pages.
///
/// @param name of no other pages: `model.layers.0.self_attn.keys`
/// @param heads that have a row each
/// @param width channels of a head
/// @param turned channels outside, tokens inside, as attention to all keys reads them
public record PageSpec(String name, int heads, int width, boolean turned) {}
