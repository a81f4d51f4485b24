// SPDX-License-Identifier: Apache-2.0

/// Pruning: zeros in weights, and whole channels, heads, experts and layers.
package io.llmc.prune;
