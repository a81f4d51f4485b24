// SPDX-License-Identifier: Apache-2.0
package io.llmc.model.structure;

/// What an attention layer keeps of the tokens that it has seen.
///
/// @param attention name of the layer: `model.layers.0.self_attn`
/// @param heads that have keys and values
/// @param width channels of keys, and of values, of a head
public record CacheSpec(String attention, int heads, int width) {}
