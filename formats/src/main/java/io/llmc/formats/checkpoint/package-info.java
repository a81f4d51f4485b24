// SPDX-License-Identifier: Apache-2.0
/// An opened model, and how the weights of its linear layers are spelled.
package io.llmc.formats.checkpoint;
