// SPDX-License-Identifier: Apache-2.0

/// Gradients of one block, for whoever learns block by block.
package io.llmc.pipeline.learning;
