// SPDX-License-Identifier: Apache-2.0
package io.llmc.pipeline.pass;

import io.llmc.tensor.Tensor;

/// What an attention layer would cache of some tokens; valid while it is shown.
///
/// @param keys F32 `[tokens, heads * width]`, after their rotation
/// @param values likewise
public record CacheInput(Tensor keys, Tensor values) {}
