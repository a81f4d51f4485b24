// SPDX-License-Identifier: Apache-2.0
package io.llmc.formats.checkpoint;

/// Where a reader's tensors lie.
public enum Holding {
    /// In their file: only pages that are in use take memory, and none of them is read before it is
    /// needed. For what is read a few times.
    MAPPED,

    /// In memory of their own, read once: vectors can be loaded from there, which the end of a file
    /// that becomes shorter forbids for mapped ones. For what is read over and over.
    COPIED
}
