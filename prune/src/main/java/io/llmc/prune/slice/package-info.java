// SPDX-License-Identifier: Apache-2.0
/// Directions of the residual stream that go, after a rotation (SliceGPT).
package io.llmc.prune.slice;
