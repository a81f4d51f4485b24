// SPDX-License-Identifier: Apache-2.0
/// Whole blocks that go.
package io.llmc.prune.layers;
