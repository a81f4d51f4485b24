// SPDX-License-Identifier: Apache-2.0
/// What the descriptions of blocks are made of: sizes, norms, rotations, parts of layers that go
/// together.
package io.llmc.model.structure;
